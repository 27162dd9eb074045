"""Reads a text file that a person names."""

from pathlib import Path

from core.errors import UserError

MAX_BYTES = 4_000_000
"""The largest file that is read."""


def read_text_file(name: str) -> str:
    """The text of a file. Raises `UserError` if it cannot be read, is too long, is empty or is not UTF-8."""
    if not name.strip() or "\0" in name:
        raise UserError("this names no file; enter the name of a text file")
    try:
        path = Path(name.strip()).expanduser()
        if path.is_dir():
            raise UserError(f"{name} is a folder; enter the name of a text file")
        if path.exists() and not path.is_file():
            raise UserError(f"{name} is a device or a pipe; enter the name of a text file")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{name} has more than {MAX_BYTES:,} bytes; save a part of it in a file of its own")
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(f"{name} cannot be read: {(error.strerror or type(error).__name__).lower()}") from error
    except RuntimeError as error:
        raise UserError(f"{name} cannot be read: there is no such user; enter a full path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 (byte {error.start + 1} is not valid); convert it to UTF-8") from error
    if not text:
        raise UserError(f"{name} is empty; enter the name of a file with text")
    return text
