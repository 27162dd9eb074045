"""Owns which files are taken to learn from, as far as shows without reading them. No torch."""

from pathlib import Path

from core.errors import UserError

LARGEST = 2**31
"""Bytes of a text that is taken: as numbers it is about as large again."""


def path(name: str) -> Path:
    """The file that a name means. Raises `UserError` where it names nobody's home."""
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise UserError(f"{name} cannot be read: there is no such user") from error


def size(path: Path) -> int:
    """Bytes of a text file. Raises `UserError` for what is none, is empty or is too large."""
    try:
        size = path.stat().st_size if path.is_file() else None
        there = size is not None or path.exists()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if size is None:
        raise UserError(f"{path} is not a text file" if there else f"there is no text file {path}")
    if not size:
        raise UserError(f"{path} is empty; take a text to learn from")
    if size > LARGEST:
        raise UserError(f"{path} has {size / 1e9:.1f} GB, more than {LARGEST / 1e9:.1f}; train on a part of it")
    return size
