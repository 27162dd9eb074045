"""Owns how text and numbers look on a terminal, and makes hostile text inert.

Model text, prompts and file names may hold anything. Nothing reaches the screen but through `prose` (running text) or
`label` (a cell of a table), and then as `rich.text.Text` or `Content`, never as markup.
"""

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from rich.cells import cell_len, chop_cells

from core.tokenizers.tokenizer import Decoder, piece_text

_PICTURES = {"\n": "↵", "\r": "␍", "\t": "⇥", " ": "·"}
_WIDTH_CHANGERS = {0x20E3, *range(0x1F3FB, 0x1F400), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
"""Keycaps, skin tones and variation selectors: terminals disagree about the width of what they join."""


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


@lru_cache(maxsize=4096)
def _safe(character: str) -> str:
    """`character`, or its escape where a terminal might obey it, hide it or disagree about its width."""
    category = unicodedata.category(character)
    if category in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") or ord(character) in _WIDTH_CHANGERS:
        return _escaped(character)
    return character


def prose(text: str) -> str:
    """Running text made inert for a panel; line feeds stay, tabs are drawn, all else a terminal obeys is escaped."""
    return printed(text).replace("\t", _PICTURES["\t"])


def printed(text: str) -> str:
    """Running text made inert for standard output, where line feeds and tabs are text."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in "\n\t" else _safe(c) for c in text)


@lru_cache(maxsize=65536)
def label(piece: bytes) -> str:
    """A token's bytes as one inert cell: spaces and line feeds are drawn, parts of characters escaped."""
    shown = "".join(_PICTURES.get(c) or _safe_in_cell(c) for c in piece_text(piece))
    return "◌" + shown if shown and unicodedata.combining(shown[0]) else shown


def _safe_in_cell(character: str) -> str:
    return _escaped(character) if unicodedata.category(character) in ("Mc", "Me") else _safe(character)


def run_text(pieces: Iterable[bytes]) -> str:
    """Tokens in a row as one inert line of text; one that is blank by itself is drawn."""
    decoder = Decoder()
    text = "".join(map(decoder.feed, pieces)) + decoder.finish()
    shown = prose(text).replace("\n", _PICTURES["\n"])
    return shown if shown.strip() else label(text.encode())


def one_line(text: str) -> str:
    """Any text as one inert line, for messages and titles."""
    return "".join(_safe(c) if c != "\n" else " " for c in text)


def fit(text: str, width: int) -> str:
    """`text` in exactly `width` cells: cut with an ellipsis or padded with spaces."""
    if width <= 0:
        return ""
    length = cell_len(text)
    if length > width:
        text = (chop_cells(text, width - 1) or [""])[0] if width > 1 else ""
        text += "…"
        length = cell_len(text)
    return text + " " * (width - length)


def within(text: str, most: int) -> str:
    """`text` in as many cells as it needs, up to `most`."""
    return fit(text, min(cell_len(text), most))


def percent(share: float, decimals: int) -> str:
    """A share of 1 in percent with fixed decimals, 2 to 6."""
    return f"{100 * share:.{decimals}f}%"


def decimals_for(largest: float) -> int:
    """How many decimals of a percentage let the largest share of a table show two digits."""
    for decimals, bound in ((2, 0.001), (3, 0.0001), (4, 0.00001), (5, 0.000001)):
        if largest >= bound:
            return decimals
    return 6


def setting(value: float, decimals: int) -> str:
    """What a person set, with `decimals` decimals or as many as it has: never another number."""
    fixed = f"{value:.{decimals}f}"
    return fixed if float(fixed) == value else f"{value:g}"


def number_in(value: float, width: int) -> str:
    """A number right-aligned in `width` cells, with as many of two decimals as fit."""
    shown = (f"{value:.{decimals}f}" for decimals in (2, 1, 0))
    return next((text for text in shown if len(text) <= width), f"{value:.0e}").rjust(width)


def compact(count: float) -> str:
    """A large count in three digits: 12.9 M."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= 0.9995 * size:
            scaled = count / size
            return f"{scaled:.{0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2}f} {unit}"
    return f"{count:.0f}"


def in_place(text: str) -> str:
    """A line of an editor made inert, each character by one other, so that the cursor's columns hold.

    Tabs stay: the editor draws them as spaces.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c == "\t" or _safe(c) == c else chr(0x2400 + ord(c)) if ord(c) < 32 else "�" for c in text)
