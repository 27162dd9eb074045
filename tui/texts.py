"""Reads a text file that a person names."""

from pathlib import Path

from core.errors import UserError
from core.language import _

MAX_BYTES = 4_000_000
"""The largest file that is read."""


def read_text_file(name: str) -> str:
    """The text of a file. Raises `UserError` if it cannot be read, is too long, is empty or is not UTF-8."""
    if not name.strip() or "\0" in name:
        raise UserError(_("this names no file; enter the name of a text file"))
    try:
        path = Path(name.strip()).expanduser()
        if path.is_dir():
            raise UserError(_("{name} is a folder; enter the name of a text file"), name=name)
        if path.exists() and not path.is_file():
            raise UserError(_("{name} is a device or a pipe; enter the name of a text file"), name=name)
        if path.stat().st_size > MAX_BYTES:
            raise UserError(
                _("{name} has more than {limit:,} bytes; save a part of it in a file of its own"),
                name=name,
                limit=MAX_BYTES,
            )
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(
            _("{name} cannot be read: {reason}"), name=name, reason=(error.strerror or type(error).__name__).lower()
        ) from error
    except RuntimeError as error:
        raise UserError(_("{name} cannot be read: there is no such user; enter a full path"), name=name) from error
    except UnicodeDecodeError as error:
        raise UserError(
            _("{name} is not UTF-8 (byte {start} is not valid); convert it to UTF-8"), name=name, start=error.start + 1
        ) from error
    if not text:
        raise UserError(_("{name} is empty; enter the name of a file with text"), name=name)
    return text
