"""Checks a text file before it is read for training. Imports no torch."""

from pathlib import Path

from core.errors import UserError

MAX_BYTES = 2**31
"""Largest text file. Its token ids take about as much memory again."""


def path(name: str) -> Path:
    """The path that a name means, with `~` expanded. Raises `UserError` for the home folder of an unknown user."""
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise UserError(f"{name} cannot be read: there is no such user") from error


def size(path: Path) -> int:
    """Size of a text file in bytes. Raises `UserError` where it is no file, is empty or is too large."""
    try:
        size = path.stat().st_size if path.is_file() else None
        exists = size is not None or path.exists()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if size is None:
        raise UserError(f"{path} is not a text file" if exists else f"there is no text file {path}")
    if not size:
        raise UserError(f"{path} is empty; choose a file with text")
    if size > MAX_BYTES:
        raise UserError(f"{path} has {size / 1e9:.1f} GB, more than {MAX_BYTES / 1e9:.1f}; train on a part of it")
    return size
