"""The entry point. It imports little, so that ctrl+c and closed streams are handled before all else."""

import gc
import os
import signal
import sys
from types import FrameType

from tui.garbage import THRESHOLDS

REPAINTS = "240"
"""A second at most, so that what a key changes waits 4 ms after another repaint. Textual's own number is 60."""
INTERRUPTED = 130
"""The exit code for ctrl+c."""


def main() -> None:
    """Run the command line."""
    gc.set_threshold(*THRESHOLDS)
    signal.signal(signal.SIGINT, _interrupt)
    closed = _open_closed_streams()
    os.environ.setdefault("TEXTUAL_FPS", REPAINTS)
    from tui.cli import main as run  # noqa: PLC0415  # see above

    try:
        run(closed)
    finally:
        gc.freeze()  # the interpreter would search all modules for garbage as it ends, half a second


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End at once during an import, which would swallow the exception or leave half a module; else raise it."""
    while frame:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


def _open_closed_streams() -> frozenset[str]:
    """Give each standard stream that is closed the null device, so that no other file takes its number.

    Returns the names of those that were closed.
    """
    closed = set()
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115  # for the whole process
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
            closed.add(name)
    return frozenset(closed)
