"""Owns reading a text file that a person names."""

from pathlib import Path

from core.errors import UserError

LONGEST = 4_000_000
"""Bytes a text may have."""


def read_text_file(name: str) -> str:
    """The text of a file. Raises `UserError` where it cannot be read, is too long, is empty or is no UTF-8."""
    if not name.strip() or "\0" in name:
        raise UserError("that names no file; name a text file")
    try:
        path = Path(name.strip()).expanduser()
        if path.is_dir():
            raise UserError(f"{name} is a folder; name a text file")
        if path.exists() and not path.is_file():
            raise UserError(f"{name} is a device or a pipe; name a text file")
        if path.stat().st_size > LONGEST:
            raise UserError(f"{name} has more than {LONGEST:,} bytes; open a part of it")
        given = path.read_bytes()
        text = given.decode("utf-8")
    except OSError as error:
        raise UserError(f"{name} cannot be read: {(error.strerror or type(error).__name__).lower()}") from error
    except RuntimeError as error:
        raise UserError(f"{name} cannot be read: there is no such user") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 text (its byte {error.start + 1} is none); convert it first") from error
    if not text:
        raise UserError(f"{name} is empty; name a text file with something in it")
    return text
