"""Keeps the search for garbage short: no thread of Python runs meanwhile, so a key would wait for it."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LONG = 0.015
"""Seconds of a processor after which a full search was long."""
THRESHOLDS = 10_000, 4, 10
"""For `gc.set_threshold`. Python's own first number, 700, means seven searches a frame, which makes and drops 5,000
objects, and half a second of searches while torch and a model are loaded."""


@contextmanager
def short_searches() -> Iterator[None]:
    """Within the block, what a long search has found in use is left out of the searches after it.

    A walk of 10,000 tokens has 100,000 objects, which stay as long as the walk does. `search_all_again` lets the next
    search find also what has become garbage since then.
    """
    began = 0.0

    def watch(phase: str, found: dict[str, Any]) -> None:
        nonlocal began
        if phase == "start":
            began = time.thread_time()
        elif found["generation"] == 2 and time.thread_time() - began > LONG:
            gc.freeze()

    before = gc.get_threshold()
    gc.callbacks.append(watch)
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(watch)
        search_all_again()


def leave_out_imports() -> None:
    """Leave out all there is at present; imported modules are never garbage."""
    gc.freeze()


def search_all_again() -> None:
    """Let the next full search find all garbage, such as a model whose place another one has taken."""
    gc.unfreeze()
