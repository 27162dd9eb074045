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
    ys: tuple[float, ...], width: int, height: int, low: float, high: float, joined: bool = True
) -> tuple[str, ...]:
    """Evenly spaced points in braille, joined by a line, without axes; `low` to `high` fills the height."""
    if width < 2 or height < 1 or len(ys) < 2:
        return (" " * max(0, width),) * max(0, height)
    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, height)
    figure.theme("colorless")
    figure.axes(False)
    points = figure.signal(list(range(len(ys))), [max(low, min(y, high)) for y in ys], marker="braille")
    figure.draw(points.lines() if joined else points)
    figure.ruler("x").lim(0, len(ys) - 1).ticks([])
    figure.ruler("y").lim(low, high if high > low else low + 1).ticks([])
    drawn = plotext.uncolorize(figure.build().string()).split("\n")[:height]
    return tuple(line.ljust(width)[:width] for line in (*drawn, *[""] * (height - len(drawn))))


def overlay(front: Sequence[str], back: Sequence[str]) -> list[list[tuple[str, int]]]:
    """Two curves of the same size in one: each line as runs of text, with 0 where the front one is, else 1."""
    lines = []
    for over, under in zip(front, back, strict=True):
        runs: list[tuple[str, int]] = []
        for one, other in zip(over, under, strict=True):
            which = 0 if _dots(one) else 1
            cell = chr(0x2800 | _dots(one) | _dots(other))
            if runs and runs[-1][1] == which:
                runs[-1] = runs[-1][0] + cell, which
            else:
                runs.append((cell, which))
        lines.append(runs)
    return lines


def _dots(cell: str) -> int:
    """The dots of a braille cell as bits."""
    return ord(cell) - 0x2800 if "\u2800" <= cell <= "\u28ff" else 0
