"""Draws curves in braille as plain text, and computes the cells, ticks and label rows of a plot with axes."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice

from tui.drawing.figure import blank_figure, rows_of

BRAILLE = 0x2800
"""Code point of the empty braille cell; the low 8 bits are its dots."""
LEFT_DOTS = 0x47
"""Bits of the left column of a braille cell."""

Point = tuple[float, float]


@lru_cache(maxsize=64)
def curve(
    ys: tuple[float, ...], width: int, height: int, low: float, high: float, joined: bool = True
) -> tuple[str, ...]:
    """Evenly spaced points in braille, joined by a line, without axes; `low` to `high` fills the height."""
    if width < 2 or height < 1 or len(ys) < 2:
        return (" " * max(0, width),) * max(0, height)
    figure = blank_figure(width, height)
    points = figure.signal(list(range(len(ys))), [max(low, min(y, high)) for y in ys], marker="braille")
    figure.draw(points.lines() if joined else points)
    figure.ruler("x").lim(0, len(ys) - 1).ticks([])
    figure.ruler("y").lim(low, high if high > low else low + 1).ticks([])
    return rows_of(figure, width, height)


def overlay(front: Sequence[str], back: Sequence[str]) -> list[list[tuple[str, int]]]:
    """Two curves of the same size in one. Each row is a list of (text, 0 where the front curve is, else 1)."""
    rows = []
    for over, under in zip(front, back, strict=True):
        runs: list[tuple[str, int]] = []
        for one, other in zip(over, under, strict=True):
            which = 0 if dots(one) else 1
            cell = chr(BRAILLE | dots(one) | dots(other))
            if runs and runs[-1][1] == which:
                runs[-1] = runs[-1][0] + cell, which
            else:
                runs.append((cell, which))
        rows.append(runs)
    return rows


def dots(cell: str) -> int:
    """The dots of a braille cell as bits; 0 for any other character."""
    return ord(cell) - BRAILLE if "\u2800" <= cell <= "\u28ff" else 0


# Plots with axes -----------------------------------------------------------------------------------------------------


class BinnedMeans:
    """Reduces a growing series of points to the mean of each of equal bins along x.

    Only finished bins are returned, so that what was drawn does not change when points are added. Each point is read
    once.
    """

    def __init__(self) -> None:
        self._binning: tuple[float, int] = (0.0, 0)
        self._first: Point | None = None
        self._read = 0
        self._bin, self._sums = 0, (0.0, 0.0, 0)
        self._means: list[Point] = []

    def of(self, points: Sequence[Point], length: float, bins: int) -> tuple[Point, ...]:
        """The mean point of each finished bin, where `bins` equal bins divide 0 to `length`."""
        first = points[0] if points else None
        if self._binning != (length, bins) or self._first != first or len(points) < self._read:
            self.__init__()  # type: ignore[misc]
            self._binning, self._first = (length, bins), first
        for x, y in islice(points, self._read, None):
            number = int(bins * x / length)
            if number != self._bin:
                self._finish(number)
            sum_x, sum_y, count = self._sums
            self._sums = sum_x + x, sum_y + y, count + 1
            if x >= length:
                self._finish(number + 1)
        self._read = len(points)
        return tuple(self._means)

    def _finish(self, following: int) -> None:
        sum_x, sum_y, count = self._sums
        if count:
            self._means.append((sum_x / count, sum_y / count))
        self._bin, self._sums = following, (0.0, 0.0, 0)


@lru_cache(maxsize=64)
def trace(
    points: tuple[Point, ...], width: int, height: int, x_range: tuple[float, float], y_range: tuple[float, float]
) -> tuple[str, ...]:
    """Points at their x and y in braille, joined by a line; the ranges are the edges of the field."""
    if width < 1 or height < 1 or not points:
        return (" " * max(0, width),) * max(0, height)
    figure = blank_figure(width, height)
    ys = [max(y_range[0], min(y, y_range[1])) for _, y in points]
    figure.draw(figure.signal([x for x, _ in points], ys, marker="braille").lines())
    for ruler, ends in (("x", x_range), ("y", y_range)):
        figure.ruler(ruler).lim(*ends).ticks([]).alignment(lim="edge")
    return rows_of(figure, width, height)


@lru_cache(maxsize=64)
def dotted(y: float, width: int, height: int, y_range: tuple[float, float]) -> tuple[str, ...]:
    """A horizontal line at `y` in braille, one dot a cell."""
    rows = trace(((0.0, y), (1.0, y)), width, height, (0.0, 1.0), y_range)
    return tuple("".join(chr(BRAILLE | bits) if (bits := dots(c) & LEFT_DOTS) else " " for c in row) for row in rows)


def cell_of(value: float, low: float, high: float, cells: int) -> int:
    """The index of the cell that holds a value, where `cells` equal cells divide `low` to `high`."""
    return max(0, min(cells - 1, int(cells * (value - low) / (high - low))))


def ticks(low: float, high: float, most: int) -> Iterator[float]:
    """Round numbers (multiples of 1, 2 or 5) evenly from `low` to `high`, about `most` of them at most."""
    decade = 10.0 ** math.floor(math.log10(max((high - low) / max(1, most), 1e-9)))
    step = next(factor * decade for factor in (1, 2, 5, 10) if (high - low) / (factor * decade) <= max(1, most))
    return (n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1))


def spread_rows(rows: Sequence[int], height: int) -> list[int]:
    """Ascending rows of labels, moved as little as gives each label a row of its own."""
    spread = list[int]()
    for row in rows:
        spread.append(max(row, spread[-1] + 1) if spread else row)
    for at in range(len(spread) - 1, -1, -1):
        spread[at] = min(spread[at], height - (len(spread) - at))
    return spread
