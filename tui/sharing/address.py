"""Where a shared walk is found: an address on this machine with a token, in a file that only its owner can read."""

import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import platformdirs

from core.atomic import make_folder, replacing
from core.bounded import read_file
from core.errors import UserError
from core.language import _

LOOPBACK = ("127.0.0.1", "localhost")
LARGEST = 10_000
"""Bytes of an address file at most."""


class Address(NamedTuple):
    """A port of this machine, and the token that it asks for."""

    port: int
    token: str

    def __str__(self) -> str:
        return f"{LOOPBACK[0]}:{self.port}/{self.token}"


def new_token() -> str:
    """A random token of 16 bytes."""
    return secrets.token_urlsafe(16)


def folder() -> Path:
    """Where the addresses of the walks that are shared now are kept."""
    return platformdirs.user_data_path("tokenwalk") / "shared"


def announce(address: Address) -> Path:
    """Write an address to a file of this process, and return it. Raises `UserError`."""
    make_folder(folder(), private=True)
    path = folder() / f"{os.getpid()}-{address.port}.json"
    with replacing(path, private=True) as file:
        file.write(json.dumps(str(address)).encode())
    return path


def parse(text: str) -> Address | None:
    """An address in its written form, such as `127.0.0.1:40123/TOKEN`; None for another text.

    Raises `UserError` for an address of another machine.
    """
    host, colon, rest = text.removeprefix("tokenwalk://").partition(":")
    port, slash, token = rest.partition("/")
    if not (colon and slash and port.isascii() and port.isdecimal() and token):
        return None
    if host not in LOOPBACK:
        raise UserError(
            _("{host} is another machine, which no shared walk listens to; reach it by ssh -L {port}:127.0.0.1:{port}"),
            host=host,
            port=port,
        )
    if not 0 < int(port) < 65536 or len(token) > 100 or not token.isascii():
        return None
    return Address(int(port), token)


def newest() -> Address | None:
    """The walk that was shared last by a process that is still there; None where there is none."""
    with suppress(OSError):
        for path in sorted(folder().glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True):
            with suppress(OSError, ValueError):  # a UserError is a ValueError
                if not _alive(path):
                    path.unlink(missing_ok=True)
                elif found := parse(str(json.loads(read_file(path, LARGEST)))):
                    return found
    return None


def _alive(path: Path) -> bool:
    """Whether the process that wrote an address file is there."""
    number = path.stem.partition("-")[0]
    if not number.isdecimal() or os.name == "nt":  # where a signal would end it
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
