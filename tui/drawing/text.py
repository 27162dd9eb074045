"""Formats text and numbers for a terminal, and makes untrusted text inert.

Model text, prompts and file names may hold control characters or markup. All of them pass through `prose`, `printed`,
`label`, `run_text` or `one_line`, and reach the screen as `rich.text.Text` or `Content`, never as markup.
"""

import os
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from pathlib import PurePath

from rich.cells import cell_len, chop_cells

from core.sampling.bounds import Bounded, Bounds, high
from core.tokenizers.tokenizer import Decoder, piece_text
from tui.drawing.spoken import DRAWN, kept

_SYMBOLS = {"\n": "↵", "\r": "␍", "\t": "⇥", " ": "·"}
_WIDTH_CHANGERS = {0x20E3, *range(0x1F3FB, 0x1F400), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
"""Keycaps, skin tones and variation selectors. Terminals disagree about the width of text that contains them."""


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def is_inert(character: str) -> bool:
    """Whether terminals neither execute nor hide a character, as they do control and format characters."""
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


@lru_cache(maxsize=4096)
def _safe(character: str) -> str:
    """`character`, or its escape if terminals execute it, hide it, or disagree about its width."""
    return character if is_inert(character) and ord(character) not in _WIDTH_CHANGERS else _escaped(character)


def prose(text: str) -> str:
    """Running text for a panel: line feeds stay, a tab becomes `⇥`, other control characters are escaped."""
    return printed(text).replace("\t", _SYMBOLS["\t"])


def printed(text: str) -> str:
    """Running text for standard output: line feeds and tabs stay, other control characters are escaped."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in "\n\t" else _safe(c) for c in text)


_spoken = False
"""Whether labels are read aloud."""


def speak() -> None:
    """Write labels for a screen reader from now on: in quotes where blanks are at an end, and without symbols."""
    global _spoken  # noqa: PLW0603  # one front end a process
    _spoken = True
    label.cache_clear()


def _aloud(text: str) -> str:
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    shown = "".join(named.get(each) or (_escaped if DRAWN.match(each) else _safe)(each) for each in text)
    quoted = not shown or shown != shown.strip() or "  " in shown
    return f'"{kept(shown)}"' if quoted else kept(shown)


@lru_cache(maxsize=65536)
def label(piece: bytes) -> str:
    """A token's bytes as one line: spaces and line feeds become symbols, incomplete UTF-8 is escaped."""
    if _spoken:
        return _aloud(piece_text(piece))
    shown = "".join(_SYMBOLS.get(c) or _safe_in_cell(c) for c in piece_text(piece))
    return "◌" + shown if shown and unicodedata.combining(shown[0]) else shown


def _safe_in_cell(character: str) -> str:
    return _escaped(character) if unicodedata.category(character) in ("Mc", "Me") else _safe(character)


def run_text(pieces: Iterable[bytes]) -> str:
    """Consecutive tokens as one line of text; a blank text is shown by symbols."""
    decoder = Decoder()
    text = "".join(map(decoder.feed, pieces)) + decoder.finish()
    if _spoken:
        return label(text.encode())
    shown = prose(text).replace("\n", _SYMBOLS["\n"])
    return shown if shown.strip() else label(text.encode())


def one_line(text: str) -> str:
    """Any text as one line without control characters, for messages and titles."""
    return "".join(_safe(c) if c != "\n" else " " for c in text)


def verbatim(text: str) -> str:
    """Text of a model or a person as one line, whose signs are not taken for those of the app where it is read."""
    return kept(one_line(text)) if _spoken else one_line(text)


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


def ending(text: str, most: int) -> str:
    """`text` in up to `most` cells; of a longer one, such as a path, the end after an ellipsis."""
    if cell_len(text) <= most:
        return text
    kept = next(end for n in range(len(text)) if cell_len(end := text[n:]) < most)
    return f"…{kept}"


def short_name(model: str) -> str:
    """The name of a model; of a path only its last part."""
    return PurePath(model).name if model.startswith((".", "~", os.sep)) else model


def within(text: str, most: int) -> str:
    """`text` in as many cells as it needs, up to `most`."""
    return fit(text, min(cell_len(text), most))


def percent(share: Bounded, decimals: int) -> str:
    """A share (0 to 1) in percent, with `decimals` decimals; `2.31–2.48%` or `≤ 0.03%` where it is not known.

    A share above 0 that would read 0 has up to four decimals, or below those one digit: `0.0046%`, `4e-5%`. It is no
    wider than `100%` with two or more decimals.
    """
    if not isinstance(share, Bounds):
        return _percent(share, decimals)
    least, most = _percent(share.low, decimals), _percent(share.high, decimals)
    if least == most:
        return most
    return f"{least[:-1]}–{most}" if share.low else f"≤ {most}"


def _percent(share: float, decimals: int) -> str:
    value = 100 * share
    if not value:
        return "0%"
    for places in (decimals, max(decimals, min(decimals + 2, 4))):
        if value >= 0.5 * 10.0**-places:
            return f"{value:.{places}f}%"
    return f"{value:.0e}%".replace("e-0", "e-")


def signed(value: float | None, decimals: int = 3) -> str:
    """A number with its sign; `·` where it is not known, and without a sign where all its digits are 0."""
    if value is None:
        return "·".center(decimals + 3)
    words = f"{value:+.{decimals}f}"
    return words if words.strip("+-0.") else f" {words[1:]}"


def percent_in(share: Bounded, decimals: int, width: int) -> str:
    """As `percent`; of bounds that are wider than `width` cells only the least, or the most where that is 0."""
    words = percent(share, decimals)
    if isinstance(share, Bounds) and len(words) > width:
        sign, end = ("≥", share.low) if share.low else ("≤", share.high)
        words = f"{sign} {percent(end, decimals)}"
        return words if len(words) <= width else words.replace(" ", "")
    return words


def fixed_in(value: Bounded, decimals: int, width: int) -> str:
    """A number with `decimals` decimals, with fewer where bounds would be wider than `width` cells."""
    words = f"{value:.{decimals}f}"
    while decimals and len(words) > width and isinstance(value, Bounds):
        decimals -= 1
        words = f"{value:.{decimals}f}"
    return words


def count_in(count: Bounded, width: int) -> str:
    """A number of tokens; of bounds that are wider than `width` cells the most that it can be."""
    words = f"{count:,}"
    return f"≤{high(count):,}" if isinstance(count, Bounds) and len(words) > width else words


def decimals_for(share: Bounded) -> int:
    """How many decimals a percentage needs so that the largest share of a table shows two digits."""
    largest = high(share)
    for decimals, bound in ((2, 0.001), (3, 0.0001), (4, 0.00001), (5, 0.000001)):
        if largest >= bound:
            return decimals
    return 6


def setting(value: float, decimals: int) -> str:
    """A setting with `decimals` decimals, or with all it has where that would round it."""
    fixed = f"{value:.{decimals}f}"
    return fixed if float(fixed) == value else f"{value:g}"


def number_in(value: float, width: int) -> str:
    """A number right-aligned in `width` cells, with two decimals, one or none, as many as fit."""
    shown = (f"{value:.{decimals}f}" for decimals in (2, 1, 0))
    return next((text for text in shown if len(text) <= width), f"{value:.0e}").rjust(width)


def compact(count: float) -> str:
    """A large count with three digits and a unit: 12.9 M."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= 0.9995 * size:
            scaled = count / size
            return f"{scaled:.{0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2}f} {unit}"
    return f"{count:.0f}"


def bytes_text(count: float) -> str:
    """A number of bytes with a decimal unit: 93 MB, 1.5 GB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.9995 * size:
            return f"{count / size:.{1 if unit == 'GB' and count < 1e11 else 0}f} {unit}"
    return f"{count:.0f} B"


def in_place(text: str) -> str:
    """A line of an editor in which each control character is replaced by one other character.

    So the columns of the cursor stay right. Tabs stay, as the editor draws them as spaces.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c == "\t" or _safe(c) == c else chr(0x2400 + ord(c)) if ord(c) < 32 else "�" for c in text)
