"""Small pictures in braille: which dots are set, and how large a picture is."""

import random

import pytest

from tui.drawing.plots import dots
from tui.drawing.thumbnails import GAP, SHAPES, STRONG, shape_for, thumbnail


def test_each_strong_pixel_is_a_dot_where_there_is_a_dot_for_each() -> None:
    pixels = [[255 * ((x * 7 + y * 3) % 5 == 0) for x in range(8)] for y in range(8)]
    lines = thumbnail(bytes(value for row in pixels for value in row), 4, 2)
    order = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (3, 0), (3, 1)]  # Unicode 16, section 21.1
    for y, row in enumerate(pixels):
        for x, value in enumerate(row):
            bit = order.index((y % 4, x % 2))
            assert bool(dots(lines[y // 4][x // 2]) >> bit & 1) == (value >= STRONG)


@pytest.mark.parametrize("size", [1, 3, 8, 32])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_picture_of_any_size_is_reduced_by_its_strongest_pixels(size: int, shape: tuple[int, int]) -> None:
    """A single strong pixel is never lost, and stands where it belongs."""
    across, down = shape
    y, x = random.Random(size).randrange(size), random.Random(size + 1).randrange(size)
    pixels = bytearray(size * size)
    pixels[y * size + x] = 255
    lines = thumbnail(bytes(pixels), across, down)
    assert [len(line) for line in lines] == [across] * down
    found = [(row, column) for row, line in enumerate(lines) for column, cell in enumerate(line) if dots(cell)]
    assert found
    for row, column in found:
        assert y * down // size <= row <= (y + 1) * down // size
        assert x * across // size <= column <= (x + 1) * across // size


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (4, 4), (12, 12), (30, 9), (48, 25)])
@pytest.mark.parametrize(("width", "height"), [(74, 10), (86, 26), (116, 42), (140, 55)])
def test_pictures_are_as_large_as_there_is_room(layers: int, heads: int, width: int, height: int) -> None:
    across, down = shape_for(layers, heads, width, height)
    larger = SHAPES[: SHAPES.index((across, down))]
    for wide, tall in larger:
        assert heads * (wide + GAP) > width or min(layers, 3) * (tall + 1) > height
    assert (across, down) == SHAPES[-1] or heads * (across + GAP) <= width
