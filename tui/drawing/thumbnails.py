"""Small pictures in braille: a dot stands where a pixel is strong."""

from collections.abc import Sequence
from functools import lru_cache

from tui.drawing.plots import BRAILLE

STRONG = 96
"""The level of a pixel, of 255, from which its dot is set."""
BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The dots of a braille cell, by line and column."""
SHAPES = ((16, 8), (12, 6), (8, 4), (6, 3), (4, 2))
"""Cells across and down of a thumbnail, the largest first. A braille cell has 2 × 4 dots, so each is a square."""
GAP = 2
"""Cells between two thumbnails."""
ROWS = 3
"""Rows of thumbnails that have room at least, where there are so many."""


def shape_for(rows: int, columns: int, width: int, height: int) -> tuple[int, int]:
    """The largest shape of which `columns` fit into `width` cells and `ROWS` of the `rows` into `height` lines."""
    for across, down in SHAPES:
        if columns * (across + GAP) <= width and min(rows, ROWS) * (down + 1) <= height:
            return across, down
    return SHAPES[-1]


@lru_cache(maxsize=2048)
def thumbnail(pixels: bytes, across: int, down: int) -> tuple[str, ...]:
    """A square picture, row by row, as `down` lines of `across` braille cells; the strongest pixel decides a dot."""
    size = round(len(pixels) ** 0.5)
    dots = [
        [_strongest(pixels, size, y, x, 4 * down, 2 * across) >= STRONG for x in range(2 * across)]
        for y in range(4 * down)
    ]
    return tuple(
        "".join(
            chr(BRAILLE + sum(BITS[y][x] for y in range(4) for x in range(2) if dots[4 * line + y][2 * cell + x]))
            for cell in range(across)
        )
        for line in range(down)
    )


def _strongest(pixels: Sequence[int], size: int, y: int, x: int, rows: int, columns: int) -> int:
    """The strongest of the pixels that dot (y, x) of rows × columns dots covers."""
    down = range(y * size // rows, max(y * size // rows + 1, -(-(y + 1) * size // rows)))
    across = range(x * size // columns, max(x * size // columns + 1, -(-(x + 1) * size // columns)))
    return max(pixels[row * size + column] for row in down for column in across)
