"""Folders, and atomic file writing: after a crash the path holds the old file or the new one, each complete."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from core.bounded import kind
from core.errors import UserError
from core.language import _

NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
"""Flags that open a file only where nothing has its name, not even a symbolic link."""


def check_replaceable(path: Path) -> None:
    """Raise `UserError` where `path` is a folder, a pipe or a device."""
    try:
        other = kind(path)
    except OSError as error:
        raise UserError(_("{path} cannot be written: {reason}"), path=path, reason=error.strerror) from error
    if other:
        raise UserError(
            _("{path} is {other}, not a file, so it is not replaced; choose another name"), path=path, other=other
        )


def make_folder(folder: Path, *, private: bool = False) -> None:
    """Create a folder and its parents where they are missing. Raises `UserError` where that fails.

    With `private`, a folder that was not there before is for its owner alone.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700 if private else 0o777, exist_ok=True)
    except OSError as error:
        raise UserError(_("{folder} cannot be created: {reason}"), folder=folder, reason=error.strerror) from error


@contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """A new file that replaces `path` when the block ends without an error and the data is on the disk.

    With `private`, a file that was not there before is for its owner alone. Raises `UserError` where `path` is not a
    file or cannot be written; it is unchanged then.
    """
    temporary = None
    try:
        path = path.resolve()
        check_replaceable(path)
        temporary = path.with_name(f".tokenwalk-{secrets.token_hex(8)}.tmp")
        with os.fdopen(os.open(temporary, NEW_FILE, 0o600 if private else 0o666), "wb") as file:
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
            raise UserError(
                _("{path} cannot be written: {reason}"), path=path, reason=getattr(error, "strerror", None) or error
            ) from error
        raise


def _sync_folder(folder: Path) -> None:
    """Write the folder entry to the disk. Windows, where a folder cannot be opened, does so by itself."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
