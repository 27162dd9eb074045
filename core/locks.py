"""A lock on a folder, so that one process at a time writes into it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.errors import UserError
from core.language import _

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def only_writer(folder: Path, advice: str) -> Iterator[None]:
    """Hold the lock of a folder, which is made for it; it ends with the process in any case. No lock on Windows.

    Raises `UserError`, which ends with `advice`, where another holds it, or the folder cannot be made.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = os.open(folder, os.O_RDONLY) if fcntl else None
    except OSError as error:
        raise UserError(_("{folder} cannot be created: {reason}"), folder=folder, reason=error.strerror) from error
    try:
        if opened is not None and not _taken(opened):
            raise UserError(_("{folder} is in use by another tokenwalk; {advice}"), folder=folder, advice=advice)
        try:
            yield
        finally:
            with suppress(OSError):
                if made:
                    folder.rmdir()  # where nothing was written
    finally:
        if opened is not None:
            os.close(opened)


def _taken(opened: int) -> bool:
    """Whether the lock is ours now; on a file system without locks it always is."""
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
