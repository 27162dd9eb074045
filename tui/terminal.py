"""What is known of the terminal: where the app is drawn, and whether it keeps up with the frames."""

import sys
from queue import Queue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textual.app import App

WRITES_IN_TIME = 1
"""Writes that may wait while the terminal keeps up."""


def drawn_on() -> Any:
    """The open file on which the app is drawn: standard error, as Textual has it, else standard output.

    None where neither is a terminal.
    """
    return next((each for each in (sys.__stderr__, sys.__stdout__) if each and each.isatty()), None)


def is_behind(app: "App[Any]") -> bool:
    """Whether more than one write waits for the terminal, as over a slow link.

    Textual's Linux driver writes on a thread with a queue, `driver._writer_thread._queue` (Textual 8.2), and has no
    public way to ask for its length. Where a driver has no such queue the answer is False: then frames are drawn at
    their usual rate, and over a slow link the answer to a key comes late. Nothing else depends on it.
    """
    queue = getattr(getattr(app._driver, "_writer_thread", None), "_queue", None)
    return isinstance(queue, Queue) and queue.qsize() > WRITES_IN_TIME
