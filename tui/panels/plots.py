"""Owns what lenses draw with: meters, curves by plotext, shades and column charts; plain text, coloured by the lens."""

from collections.abc import Sequence
from functools import lru_cache

import plotext

SHADES = " ░▒▓█"
EIGHTHS = " ▁▂▃▄▅▆▇█"


def meter(share: float, width: int) -> str:
    """A bar of at most `width` cells in half cells, padded; whatever is not 0 leaves a trace."""
    halves = round(2 * width * max(0.0, min(share, 1.0)))
    if share > 0 and not halves:
        return "▏".ljust(width)
    return ("█" * (halves // 2) + "▌" * (halves % 2)).ljust(width)


def shade(share: float) -> str:
    """One character, the denser the larger the share: below 5 % nothing, from 80 % on all of the cell."""
    return SHADES[sum(share >= bound for bound in (0.05, 0.25, 0.50, 0.80))]


def hundredths(share: float) -> str:
    """A share of 1 in three cells: `.42`, `1.0`."""
    return "1.0" if share >= 0.995 else f"{share:.2f}"[1:]


def columns(shares: Sequence[float], height: int) -> list[str]:
    """A column of `height` cells for each share of 1, in eighths of a cell; the lines from the top."""
    lengths = [round(8 * height * max(0.0, min(share, 1.0))) or int(share > 0) for share in shares]
    return ["".join(EIGHTHS[max(0, min(8, n - 8 * level))] for n in lengths) for level in reversed(range(height))]


@lru_cache(maxsize=64)
def curve(
    ys: tuple[float, ...], width: int, height: int, low: float, high: float, xs: tuple[float, ...] | None = None
) -> tuple[str, ...]:
    """A line through the points in braille, without axes; `ys` between `low` and `high` fill the height."""
    if width < 2 or height < 1 or len(ys) < 2:
        return (" " * max(0, width),) * max(0, height)
    xs = xs or tuple(map(float, range(len(ys))))
    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, height)
    figure.theme("colorless")
    figure.axes(False)
    figure.draw(figure.signal(list(xs), [max(low, min(y, high)) for y in ys], marker="braille").lines())
    figure.ruler("x").lim(xs[0], xs[-1]).ticks([])
    figure.ruler("y").lim(low, high if high > low else low + 1).ticks([])
    drawn = plotext.uncolorize(figure.build().string()).split("\n")[:height]
    return tuple(line.ljust(width)[:width] for line in (*drawn, *[""] * (height - len(drawn))))
