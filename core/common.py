"""Owns small things that many rooms need: what two sequences begin with, and things made once for all threads."""

from collections.abc import Callable, Sequence
from functools import cache, wraps
from threading import RLock
from typing import ParamSpec, TypeVar

Element = TypeVar("Element")
Given = ParamSpec("Given")
Made = TypeVar("Made")
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


def made_once(make: Callable[Given, Made]) -> Callable[Given, Made]:
    """`functools.cache` that gives all threads the same object, also where several ask before it is made."""
    lock, kept = RLock(), cache(make)

    @wraps(make)
    def made(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        with lock:
            return kept(*args, **kwargs)  # type: ignore[arg-type]  # a call with what is not hashable fails by itself

    made.cache_clear = kept.cache_clear  # type: ignore[attr-defined]
    return made
