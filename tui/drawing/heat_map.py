"""Draws a table of signed numbers as a heat map: each cell is a number, or where that has no room, a glyph.

A glyph tells sign and size without color: `░▒▓█` above zero, `╌─═≡` below it, blank near it, `·` where the value is not
known yet. Labels are inert text; a label over a narrow column is written downwards.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from tui.drawing.text import fit

ABOVE, BELOW = " ░▒▓█", " ╌─═≡"
"""Glyphs by size, for values above and below zero."""
BOUNDS = (0.05, 0.25, 0.50, 0.80)
"""Shares of the scale from which on the next glyph is drawn."""
MISSING = "·"
TOO_WIDE = "¤"
"""What is drawn for a character that has more cells than its column."""
NUMBERED = 5
"""Width of a cell from which on its value is written as a number."""
WIDEST = 7
"""Width of a cell at most."""


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Values by row and column, and their labels."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    """[rows × columns]; None where a value is not known yet."""
    scale: float | None = None
    """The size of a value with the strongest color; None for the largest size there is."""
    signed: bool = True
    """Whether values can be below zero; the legend then shows both halves."""
    texts: tuple[tuple[str, ...], ...] = ()
    """What cells show in place of their values, where they have room; empty rows show values."""
    narrowest: int = 1
    """Width of a cell at least."""
    widest: int = WIDEST
    """Width of a cell at most."""

    @property
    def strongest(self) -> float:
        """The size of a value with the strongest color, above 0."""
        sizes = (abs(value) for row in self.values for value in row if value is not None and math.isfinite(value))
        return self.scale or max(sizes, default=0.0) or 1.0

    def at(self, row: int, column: int) -> float | None:
        """The value of a cell; None where it is not known yet, or where there is no such cell."""
        known = 0 <= row < len(self.values) and 0 <= column < len(self.values[row])
        return self.values[row][column] if known else None

    def text_at(self, row: int, column: int) -> str | None:
        """What a cell shows in place of its value, if anything."""
        known = 0 <= row < len(self.texts) and 0 <= column < len(self.texts[row])
        return self.texts[row][column] if known else None


def cell_width(columns: int, room: int, narrowest: int = 1, widest: int = WIDEST) -> int:
    """Cells of each of `columns` columns in `room` cells; with the narrowest there may be more columns than room."""
    return max(narrowest, min(widest, room // max(1, columns)))


def window(count: int, at: int, room: int, first: int = 0) -> range:
    """The columns, of `count`, that `room` columns show; they scroll from `first` as little as keeps `at` visible."""
    room = max(1, room)
    first = max(0, min(max(first, at - room + 1), at, count - room))
    return range(first, min(count, first + room))


def glyph(share: float) -> str:
    """One character for a value from -1 to 1."""
    return (BELOW if share < 0 else ABOVE)[sum(abs(share) >= bound for bound in BOUNDS)]


def number(value: float) -> str:
    """A value in up to 4 cells: `.42`, `-.42`, `1.02`, `-1.0`, `123`, `2e4`."""
    for decimals in (2, 1, 0):
        text = f"{value:.{decimals}f}"
        text = "0" if not float(text) else text.replace("0.", ".", 1) if abs(float(text)) < 1 else text
        if len(text) <= 4 or not math.isfinite(value):
            return text
    return f"{value:.0e}".replace("e+0", "e").replace("e+", "e")[:5]


def cell(value: float | None, strongest: float, width: int, text: str | None = None) -> str:
    """A value, or a text in its place, in a cell of `width` characters; the first is blank unless it is a glyph."""
    if value is None:
        return MISSING.rjust(width)
    if width >= NUMBERED and text is not None:
        return f" {fit(text, width - 1)}"
    if width >= NUMBERED:
        return number(value).rjust(width)
    return glyph(value / strongest if math.isfinite(value) else 1.0) * width


def marked(shown: str) -> str:
    """A cell under the cursor, in as many cells as before."""
    return "◆" if len(shown) == 1 else f"›{shown[1:]}" if cell_len(shown) >= NUMBERED else f"‹{shown[1:-1]}›"


def labels(columns: Sequence[str], width: int, height: int) -> list[str]:
    """The labels of columns of `width` cells in at most `height` lines, each cut into pieces, one below another.

    Over numbers they are aligned to the right, as these are; there a label that has room in one line but for the `·` of
    a leading space loses it. So does one that needs more lines than there are; if that is not enough, it ends with `…`.
    """
    across = max(1, width - 1)
    cut = [_cut(text, across, height) for text in columns]
    lines = max(map(len, cut), default=0)
    cut = [[""] * (lines - len(pieces)) + pieces for pieces in cut]
    return ["".join(_padded(pieces[line], width) for pieces in cut) for line in range(lines)]


def _cut(text: str, across: int, height: int) -> list[str]:
    """A label in at most `height` pieces of at most `across` cells."""
    all_but_one = across + 1 == cell_len(text) >= NUMBERED
    if (all_but_one or cell_len(text) > across * height) and len(text) > 1:
        text = text.removeprefix("·")
    pieces: list[str] = []
    for character in text:
        shown = character if cell_len(character) <= across else TOO_WIDE
        if pieces and cell_len(pieces[-1]) + cell_len(shown) <= across:
            pieces[-1] += shown
        else:
            pieces.append(shown)
    if len(pieces) <= height:
        return pieces
    last = pieces[height - 1]
    while last and cell_len(last) >= across:
        last = last[:-1]
    return [*pieces[: height - 1], last + "…"]


def _padded(text: str, width: int) -> str:
    blank = " " * (width - cell_len(text))
    return blank + text if width >= NUMBERED else text + blank


def legend(strongest: float, signed: bool) -> Iterator[tuple[str, float]]:
    """The meaning of glyphs and colors as pieces of a line, each with its share of the scale, from -1 to 1."""
    shares = (0.1, 0.4, 0.65, 1.0)
    if signed:
        yield f"−{strongest:.3g} ", 0.0
        yield from ((glyph(-share), -share) for share in reversed(shares))
        yield " 0 ", 0.0
    else:
        yield "0 ", 0.0
    yield from ((glyph(share), share) for share in shares)
    yield f" {'+' * signed}{strongest:.3g}", 0.0
