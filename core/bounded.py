"""Reads files and streams that anybody may have made: regular files only, and no more bytes than a limit."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from core.errors import UserError
from core.language import N_, _

LARGEST_TEXT = 64_000_000
"""Bytes of a text, and of a JSON file: the largest tokenizers have 35 million."""
_PART = 1 << 20
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, N_("a folder")),
    (stat.S_ISFIFO, N_("a pipe")),
    (stat.S_ISSOCK, N_("a socket")),
    (stat.S_ISCHR, N_("a device")),
    (stat.S_ISBLK, N_("a device")),
)


def expanded(name: str | Path) -> Path:
    """The path that a person wrote, with the home folder for `~`; as it is where there is no such folder."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def exists(path: Path) -> bool:
    """Whether there is something at a path; false where that cannot be known, such as for a name that is too long."""
    return _is(path, lambda mode: True)


def is_file(path: Path) -> bool:
    """Whether there is a regular file at a path; false as in `exists`."""
    return _is(path, stat.S_ISREG)


def is_folder(path: Path) -> bool:
    """Whether there is a folder at a path; false as in `exists`."""
    return _is(path, stat.S_ISDIR)


def _is(path: Path, test: Callable[[int], bool]) -> bool:
    try:
        return test(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def kind(path: Path) -> str | None:
    """What a path is in words, where it is neither a regular file nor absent; None there. Raises `OSError`."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    return next((_(words) for matches, words in _KINDS if matches(mode)), None)


def open_file(path: Path) -> BinaryIO:
    """A regular file for reading; nothing else is waited for.

    Raises `OSError` where it cannot be opened, and `UserError` for a folder, a pipe or a device.
    """
    if other := kind(path):
        raise UserError(_("{path} is {other}, not a file; choose a regular file"), path=path, other=other)
    opened = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(opened).st_mode):  # replaced since
        os.close(opened)
        raise UserError(_("{path} is not a file; choose a regular file"), path=path)
    return os.fdopen(opened, "rb")


def read_file(path: Path, limit: int = LARGEST_TEXT) -> bytes:
    """All bytes of a regular file. Raises as `open_file`, and `UserError` for more than `limit` bytes."""
    with open_file(path) as file:
        return read_stream(file, str(path), limit)


def read_stream(stream: BinaryIO, source: str, limit: int = LARGEST_TEXT) -> bytes:
    """All bytes of a stream called `source`. Raises `UserError` as soon as there are more than `limit`."""
    parts, size = [], 0
    while part := stream.read(min(_PART, limit + 1 - size)):
        parts.append(part)
        if (size := size + len(part)) > limit:
            raise UserError(
                _("{source} has more than {limit:,} bytes, the most that are read; give a shorter one"),
                source=source,
                limit=limit,
            )
    return b"".join(parts)
