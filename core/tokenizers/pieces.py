"""From a token, as the files of a model write it, to the bytes of text it stands for."""

import re
from collections.abc import Callable

SPACE = "▁"
"""Stands for a space in the tokens of SentencePiece."""
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


def _byte_alphabet() -> dict[str, int]:
    """The printable characters that stand for bytes in the files (Radford et al. 2019, `bytes_to_unicode`)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


BYTE_OF = _byte_alphabet()

ToBytes = Callable[[str], bytes]


def byte_level(token: str) -> bytes:
    """The bytes of a byte-level token; a token with a character outside the byte alphabet is plain text."""
    try:
        return bytes([BYTE_OF[char] for char in token])
    except KeyError:
        return token.encode()


def spaced(token: str) -> bytes:
    """The bytes of a token of SentencePiece: `▁` is a space, `<0xE2>` is a byte."""
    if byte := _BYTE_TOKEN.fullmatch(token):
        return bytes([int(byte[1], 16)])
    return token.replace(SPACE, " ").encode()


def spaced_without_bytes(token: str) -> bytes:
    """As `spaced`, but `<0xE2>` is plain text."""
    return token.replace(SPACE, " ").encode()
