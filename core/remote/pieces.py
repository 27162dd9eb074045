"""The bytes of tokens, from an engine that gives text only: `/detokenize` and, for parts of characters, tricks with it.

An engine decodes the bytes of a token that is part of a character to U+FFFD. Between the missing bytes of a character
it is text again, and those bytes are known from tokens of single bytes. `SPLITTERS` keep tokens apart, so that one
request decodes many.
"""

import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from itertools import product
from typing import Any

SPLITTERS = ("§", "¶", "~\n")
UNKNOWN = "\ufffd"
CHUNK = 256
"""Tokens in one request."""
BYTE_TEXTS = (
    "".join(map(chr, range(0xA1, 0x800, 61))),
    "".join(map(chr, range(0x4E00, 0x9F00, 131))),
    "".join(map(chr, range(0xA000, 0xA480, 13))),
    "".join(map(chr, range(0x1F300, 0x1F700, 7))),
    "".join(map(chr, range(0x20000, 0x20040))),
    "\U0010f000\U0010f041",
    UNKNOWN,
)
"""U+FFFD itself, and rare characters: tokenizers split them into single bytes, which complete other parts of them."""
_BEFORE = (b"", b"\xc3", b"\xe4", b"\xe4\xa0", b"\xf0", b"\xf0\xa0", b"\xf0\xa0\xa0", b"\xf4")
_AFTER = (b"", *(first + b"\xa0" * more for first in (b"\xa0", b"\x80") for more in (0, 1, 2)))
SURROUNDINGS = tuple(product(_BEFORE, _AFTER))
"""Bytes before and after a part of a character, one pair of which completes it."""

Detokenize = Callable[[Sequence[int]], Coroutine[Any, Any, str]]


def _alphabet() -> dict[str, int]:
    """The character that stands for each byte in tokens of byte-level BPE (GPT-2's encoder.py)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


ALPHABET = _alphabet()


def spelled(text: str, ids: Sequence[int], written: Sequence[str]) -> dict[int, bytes]:
    """The bytes of `ids` from their tokens as the files of a model write them, where together they are `text`; else {}.

    Both ways of writing are tried: byte-level BPE (`Ġmilk`) and sentencepiece (`▁milk`, `<0xE2>`).
    """
    for to_bytes in (_byte_level, _sentencepiece):
        pieces = [to_bytes(token) for token in written]
        if len(ids) == len(pieces) and b"".join(piece or b"" for piece in pieces) == text.encode():
            return {id: piece for id, piece in zip(ids, pieces, strict=True) if piece}
    return {}


def _byte_level(token: str) -> bytes | None:
    values = [ALPHABET.get(character, -1) for character in token]
    return None if -1 in values else bytes(values)


def _sentencepiece(token: str) -> bytes | None:
    if byte := re.fullmatch("<0x([0-9A-F]{2})>", token):
        return bytes.fromhex(byte[1])
    return token.replace("▁", " ").encode("utf-8", "replace")


async def decode(
    ids: Sequence[int], detokenize: Detokenize, splitters: Mapping[str, Sequence[int]], single: Mapping[bytes, int]
) -> dict[int, bytes]:
    """The bytes of `ids`; those that cannot be found out are absent.

    `splitters` holds the ids of each splitter, and `single` the ids of single bytes.
    """
    found: dict[int, bytes] = {}
    for id, text in (await _texts(ids, detokenize, splitters)).items():
        if UNKNOWN not in text:
            found[id] = text.encode()
        elif (piece := await _part(id, detokenize, splitters, single)) is not None:
            found[id] = piece
    return found


async def _texts(ids: Sequence[int], detokenize: Detokenize, splitters: Mapping[str, Sequence[int]]) -> dict[int, str]:
    """The text of each of `ids`: all in one request, or where one of them holds the splitter, by halves."""
    texts = await _split([[id] for id in ids], detokenize, splitters)
    if texts is not None:
        return dict(zip(ids, texts, strict=True))
    if len(ids) == 1:
        return {}
    half = len(ids) // 2
    return await _texts(ids[:half], detokenize, splitters) | await _texts(ids[half:], detokenize, splitters)


async def _split(
    groups: Sequence[Sequence[int]], detokenize: Detokenize, splitters: Mapping[str, Sequence[int]]
) -> list[str] | None:
    """The text of each group of ids, in one request; None where the groups have all splitters in their texts."""
    for splitter, apart in splitters.items():
        sent = [*apart]
        for group in groups:
            sent += [*group, *apart]
        texts = (await detokenize(sent)).split(splitter)
        if len(texts) == len(groups) + 2:
            return texts[1:-1]
    return None


async def _part(
    id: int, detokenize: Detokenize, splitters: Mapping[str, Sequence[int]], single: Mapping[bytes, int]
) -> bytes | None:
    """The bytes of a token that is part of a character; None where no surroundings complete it."""
    usable = [pair for pair in SURROUNDINGS if all(bytes([byte]) in single for byte in b"".join(pair))]
    groups = [
        [*(single[bytes([byte])] for byte in before), id, *(single[bytes([byte])] for byte in after)]
        for before, after in usable
    ]
    for (before, after), text in zip(usable, await _split(groups, detokenize, splitters) or (), strict=False):
        whole = text.encode()
        if UNKNOWN not in text and whole.startswith(before) and whole.endswith(after):
            return whole[len(before) : len(whole) - len(after)]
    return None
