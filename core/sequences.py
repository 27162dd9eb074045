"""The common prefix of two sequences."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Element = TypeVar("Element")

PIECE = 4096


def common_prefix(
    before: Sequence[Element], after: Sequence[Element], key: Callable[[Element], object] = lambda element: element
) -> int:
    """How many elements both begin with, by their keys; whole pieces are compared first, at the speed of C."""
    shorter = min(len(before), len(after))
    for start in range(0, shorter, PIECE):
        end = min(start + PIECE, shorter)
        if before[start:end] != after[start:end]:
            for index in range(start, end):
                if key(before[index]) != key(after[index]):
                    return index
    return shorter
