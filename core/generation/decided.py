"""Questions to a distribution of which an engine elsewhere tells only the likeliest tokens."""

from collections.abc import Callable
from typing import TypeVar

from core.loading.model import Sequences
from core.sampling.next_distribution import NeedsMore, NextDistribution

T = TypeVar("T")


def decided(
    sequences: Sequences, position: int, row: int, known: NextDistribution, ask: Callable[[NextDistribution], T]
) -> tuple[T, NextDistribution]:
    """What `ask` returns for the distribution after a position of one sequence, and the distribution that decided it.

    `known` is what is known of it. More tokens of it are asked for as long as `ask` raises `NeedsMore`. That error
    reaches the caller where no more can be known.
    """
    while True:
        try:
            return ask(known), known
        except NeedsMore as error:
            if (deeper := sequences.deeper(position, row, error.count)) is None or deeper.known <= known.known:
                raise
            known = deeper
