"""The common prefix of two sequences."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Element = TypeVar("Element")

CHUNK = 4096
"""Elements that are compared at once, by C code."""


def common_prefix(
    before: Sequence[Element], after: Sequence[Element], key: Callable[[Element], object] = lambda element: element
) -> int:
    """The number of leading elements with equal keys. Elements that are equal need to have equal keys."""
    shorter = min(len(before), len(after))
    for start in range(0, shorter, CHUNK):
        end = min(start + CHUNK, shorter)
        if before[start:end] != after[start:end]:
            for index in range(start, end):
                if key(before[index]) != key(after[index]):
                    return index
    return shorter
