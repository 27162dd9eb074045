"""A cache that gives all threads the same object."""

from collections.abc import Callable
from functools import cache, wraps
from threading import RLock
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")

Made = TypeVar("Made")


def thread_safe_cache(make: Callable[Given, Made]) -> Callable[Given, Made]:
    """`functools.cache` that gives all threads the same object, also where several ask before it is made."""
    lock, kept = RLock(), cache(make)

    @wraps(make)
    def made(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        with lock:
            return kept(*args, **kwargs)  # type: ignore[arg-type]  # a call with what is not hashable fails by itself

    made.cache_clear = kept.cache_clear  # type: ignore[attr-defined]
    return made
