"""Sets of prompts that a steering vector is made of. Imports no torch."""

from typing import Literal

Positions = Literal["last", "mean"]
"""Which positions of a prompt count: the last one, or the mean of all but the first.

The first position is left out of the mean where there are others: it is an attention sink whose numbers are a hundred
times larger (Xiao et al. 2023), the same for every prompt.
"""


def prompts_of(text: str) -> list[str]:
    """The prompts of a set: the lines of a text that are not empty."""
    return [line for line in text.splitlines() if line.strip()]
