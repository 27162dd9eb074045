"""Owns what lenses draw with: meters, curves by plotext, shades and column charts; plain text, coloured by the lens."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice

import plotext

SHADES = " ░▒▓█"
EIGHTHS = " ▁▂▃▄▅▆▇█"
LEFT_DOTS = 0x47
"""Bits of the left column of a braille cell."""

Point = tuple[float, float]


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
            which = 0 if dots(one) else 1
            cell = chr(0x2800 | dots(one) | dots(other))
            if runs and runs[-1][1] == which:
                runs[-1] = runs[-1][0] + cell, which
            else:
                runs.append((cell, which))
        lines.append(runs)
    return lines


def dots(cell: str) -> int:
    """The dots of a braille cell as bits."""
    return ord(cell) - 0x2800 if "\u2800" <= cell <= "\u28ff" else 0


# Plots with axes -----------------------------------------------------------------------------------------------------


class Thinned:
    """A growing row of points as the means of even parts of their axis, of which only whole ones are given.

    So what was drawn stays as it was while points are added, and each point is looked at once.
    """

    def __init__(self) -> None:
        self._of: tuple[float, int] = (0.0, 0)
        self._first: Point | None = None
        self._read = 0
        self._part, self._sums = 0, (0.0, 0.0, 0)
        self._means: list[Point] = []

    def of(self, points: Sequence[Point], length: float, parts: int) -> tuple[Point, ...]:
        """The points up to `length`, at most one for each of `parts`."""
        first = points[0] if points else None
        if self._of != (length, parts) or self._first != first or len(points) < self._read:
            self.__init__()  # type: ignore[misc]
            self._of, self._first = (length, parts), first
        for x, y in islice(points, self._read, None):
            part = int(parts * x / length)
            if part != self._part:
                self._close(part)
            across, up, count = self._sums
            self._sums = across + x, up + y, count + 1
            if x >= length:
                self._close(part + 1)
        self._read = len(points)
        return tuple(self._means)

    def _close(self, part: int) -> None:
        across, up, count = self._sums
        if count:
            self._means.append((across / count, up / count))
        self._part, self._sums = part, (0.0, 0.0, 0)


@lru_cache(maxsize=64)
def trace(
    points: tuple[Point, ...], width: int, height: int, across: tuple[float, float], up: tuple[float, float]
) -> tuple[str, ...]:
    """Points at their places in braille, joined by a line; `across` and `up` are the edges of the field."""
    if width < 1 or height < 1 or not points:
        return (" " * max(0, width),) * max(0, height)
    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, height)
    figure.theme("colorless")
    figure.axes(False)
    ys = [max(up[0], min(y, up[1])) for _, y in points]
    figure.draw(figure.signal([x for x, _ in points], ys, marker="braille").lines())
    for ruler, ends in (("x", across), ("y", up)):
        figure.ruler(ruler).lim(*ends).ticks([]).alignment(lim="edge")
    drawn = plotext.uncolorize(figure.build().string()).split("\n")[:height]
    return tuple(line.ljust(width)[:width] for line in (*drawn, *[""] * (height - len(drawn))))


@lru_cache(maxsize=64)
def dotted(y: float, width: int, height: int, up: tuple[float, float]) -> tuple[str, ...]:
    """A level line in braille, a dot a cell: where a curve crosses it, the curve is at `y`."""
    lines = trace(((0.0, y), (1.0, y)), width, height, (0.0, 1.0), up)
    return tuple("".join(chr(0x2800 | bits) if (bits := dots(c) & LEFT_DOTS) else " " for c in line) for line in lines)


def place(value: float, low: float, high: float, cells: int) -> int:
    """The cell of a field from `low` to `high` that a value is in."""
    return max(0, min(cells - 1, int(cells * (value - low) / (high - low))))


def ticks(low: float, high: float, most: int) -> Iterator[float]:
    """Round numbers (1, 2 or 5) evenly from `low` to `high`."""
    decade = 10.0 ** math.floor(math.log10(max((high - low) / max(1, most), 1e-9)))
    step = next(factor * decade for factor in (1, 2, 5, 10) if (high - low) / (factor * decade) <= max(1, most))
    return (n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1))


def spread(rows: Sequence[int], height: int) -> list[int]:
    """Rows of labels, from the top, moved as little as keeps each on its own."""
    apart = list[int]()
    for row in rows:
        apart.append(max(row, apart[-1] + 1) if apart else row)
    for at in range(len(apart) - 1, -1, -1):
        apart[at] = min(apart[at], height - (len(apart) - at))
    return apart
