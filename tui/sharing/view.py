"""What a lens shows, as lines of text with their colors: a viewer draws them without the model."""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from tui.drawing.spoken import restored
from tui.drawing.text import one_line

LINES = 200
"""Lines of a lens that are sent at most."""
DEFAULT = -1
"""The color of the terminal itself."""

Rgb = Annotated[int, Meta(ge=DEFAULT, lt=1 << 24)]


class View(Struct, frozen=True, array_like=True):
    """The lens that is shown, with its lines; the chart has none, since it is drawn from the numbers."""

    name: Annotated[str, Meta(max_length=100)]
    title: Annotated[str, Meta(max_length=1000)] = ""
    cursor: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    """Of the chart, the candidate under the cursor; of another lens, the first line that the teacher sees."""
    width: Annotated[int, Meta(ge=0, le=1000)] = 0
    """Cells of a line."""
    styles: Annotated[tuple[tuple[Rgb, Rgb, Annotated[int, Meta(ge=0, lt=32)]], ...], Meta(max_length=10_000)] = ()
    """Foreground, background, and the sum of 1 bold, 2 dim, 4 italic, 8 underlined, 16 reversed."""
    lines: Annotated[tuple[tuple[tuple[str, int], ...], ...], Meta(max_length=LINES)] = ()
    """Pieces of text, each with the index of its style."""


StyleNumbers = tuple[int, int, int]
Line = tuple[tuple[str, int], ...]


def lines_of(strips: Sequence[Strip]) -> tuple[tuple[StyleNumbers, ...], tuple[Line, ...]]:
    """The styles and the lines of painted strips."""
    numbers: dict[StyleNumbers, int] = {}
    known: dict[Style | None, int] = {}

    def number(style: Style | None) -> int:
        if style not in known:
            known[style] = numbers.setdefault(_style(style or Style.null()), len(numbers))
        return known[style]

    lines = tuple(tuple((restored(text), number(style)) for text, style, _ in strip) for strip in strips[:LINES])
    return tuple(numbers), lines


def _style(style: Style) -> StyleNumbers:
    flags = (style.bold, style.dim, style.italic, style.underline, style.reverse)
    return _rgb(style.color), _rgb(style.bgcolor), sum(1 << bit for bit, on in enumerate(flags) if on)


def _rgb(color: Color | None) -> int:
    if color is None or color.is_default:
        return DEFAULT
    red, green, blue = color.get_truecolor()
    return red << 16 | green << 8 | blue


def strips_of(view: View, ground: Style) -> list[Strip]:
    """The lines as strips; text that moves the cursor or the like is made harmless."""
    styles = [ground + _rich(*each) for each in view.styles]
    return [
        Strip([Segment(one_line(text), styles[n] if 0 <= n < len(styles) else ground) for text, n in line])
        for line in view.lines
    ]


def _rich(front: int, back: int, flags: int) -> Style:
    bold, dim, italic, underline, reverse = (bool(flags & 1 << bit) or None for bit in range(5))
    return Style(
        color=_color(front),
        bgcolor=_color(back),
        bold=bold,
        dim=dim,
        italic=italic,
        underline=underline,
        reverse=reverse,
    )


def _color(rgb: int) -> Color | None:
    return None if rgb == DEFAULT else Color.from_rgb(rgb >> 16, rgb >> 8 & 255, rgb & 255)
