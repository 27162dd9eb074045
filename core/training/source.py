"""Checks a text file before it is read for training. Imports no torch."""

from pathlib import Path

from core.errors import UserError
from core.language import _

MAX_BYTES = 2**31
"""Largest text file. Its token ids take about as much memory again."""


def path(name: str) -> Path:
    """The path that a name means, with `~` expanded. Raises `UserError` for the home folder of an unknown user."""
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise UserError(_("{name} cannot be read: there is no such user"), name=name) from error


def size(path: Path) -> int:
    """Size of a text file in bytes. Raises `UserError` where it is no file, is empty or is too large."""
    try:
        size = path.stat().st_size if path.is_file() else None
        exists = size is not None or path.exists()
    except OSError as error:
        raise UserError(_("{path} cannot be read: {reason}"), path=path, reason=error.strerror) from error
    if size is None:
        text = (
            _("{path} is not a text file; choose another")
            if exists
            else _("there is no text file {path}; check the path")
        )
        raise UserError(text, path=path)
    if not size:
        raise UserError(_("{path} is empty; choose a file with text"), path=path)
    if size > MAX_BYTES:
        raise UserError(
            _("{path} has {size:.1f} GB, but at most {limit:.1f} GB can be trained on; use a part of it"),
            path=path,
            size=size / 1e9,
            limit=MAX_BYTES / 1e9,
        )
    return size
