"""The question of causal experiments in words."""

from core.causal.question import Measured
from tui.drawing.text import label, within

TOKEN = 18
"""Cells of a token at most."""


def why(asked: Measured) -> str:
    """A question and the value of its measure: `why ·my, not ·the: +2.31`."""
    target, value = within(label(asked.piece), TOKEN), f"{asked.value:+.2f}"
    if asked.target.against is not None:
        return f"why {target}, not {within(label(asked.against), TOKEN)}: {value}"
    return f"why {target}: {'logit' if asked.target.scale == 'logit' else 'log-probability'} {value}"
