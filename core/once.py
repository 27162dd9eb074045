"""A cache that gives all threads the same object."""

from collections.abc import Callable
from functools import cache, wraps
from threading import RLock
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def thread_safe_cache(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """`functools.cache` with a lock, so that threads which call at the same time get one object, computed once."""
    lock, cached = RLock(), cache(function)

    @wraps(function)
    def locked(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with lock:
            return cached(*args, **kwargs)  # type: ignore[arg-type]  # an unhashable argument raises TypeError

    locked.cache_clear = cached.cache_clear  # type: ignore[attr-defined]
    return locked
