"""Atomic file writing: after a crash the path holds the old file or the new one, each complete."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from core.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that replaces `path` when the block ends without an error and the data is on the disk.

    Raises `UserError` where it cannot be written; `path` is unchanged then.
    """
    temporary = None
    try:
        path = path.resolve()
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()
        if isinstance(error, OSError | RuntimeError | RecursionError):
            raise UserError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from error
        raise


def _sync_folder(folder: Path) -> None:
    """Write the folder entry to the disk. Windows, where a folder cannot be opened, does so by itself."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
