"""Curves and plots, computed without an app."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.drawing.plots import BinnedMeans, cell_of, curve, dots, dotted, spread_rows, ticks, trace


def heights(drawn: tuple[str, ...]) -> list[int]:
    """The highest line with a dot in each column, counted from the top."""
    return [next((y for y, line in enumerate(drawn) if line[x] not in " \u2800"), -1) for x in range(len(drawn[0]))]


@pytest.mark.parametrize("size", [(2, 1), (20, 5), (57, 12)])
def test_a_curve_of_rising_values_rises_over_the_whole_height(size: tuple[int, int]) -> None:
    width, height = size
    drawn = curve(tuple(n / 10 for n in range(11)), width, height, 0.0, 1.0)
    assert [len(line) for line in drawn] == [width] * height
    tops = heights(drawn)
    assert tops == sorted(tops, reverse=True)
    assert (tops[0], tops[-1]) == (height - 1, 0)


def test_a_curve_of_fewer_than_two_points_is_blank() -> None:
    assert curve((0.5,), 10, 3, 0.0, 1.0) == (" " * 10,) * 3
    assert curve((), 10, 3, 0.0, 1.0) == (" " * 10,) * 3


def test_a_curve_of_equal_values_is_a_level_line() -> None:
    drawn = curve((0.0, 0.0, 0.0), 12, 4, 0.0, 0.0)
    assert set(heights(drawn)) == {3}


steps = st.lists(st.floats(0.1, 9), min_size=1, max_size=300)


@given(steps, st.integers(2, 40), st.integers(1, 300))
def test_binned_means_do_not_change_while_points_are_added(ys: list[float], parts: int, first: int) -> None:
    points = [(float(n), y) for n, y in enumerate(ys, start=1)]
    thinned, length = BinnedMeans(), float(len(points))
    before = thinned.of(points[:first], length, parts)
    after = thinned.of(points, length, parts)
    assert after[: len(before)] == before
    assert len(after) <= parts + 1
    assert after == BinnedMeans().of(points, length, parts)
    assert sum(x for x, _ in after) > 0 and all(min(ys) - 1e-9 <= y <= max(ys) + 1e-9 for _, y in after)
    assert thinned.of(points[:1], length, parts) == BinnedMeans().of(points[:1], length, parts)


@given(st.floats(0, 7), st.integers(1, 20))
def test_a_level_line_is_in_the_row_of_its_value(y: float, height: int) -> None:
    lines = dotted(y, 12, height, (0.0, 7.0))
    rows = [number for number, line in enumerate(lines) if line.strip()]
    half_a_dot = 7.0 / height / 8  # on the edge of two cells, rounding to a dot decides
    near = {height - 1 - cell_of(max(0.0, each), 0.0, 7.0, height) for each in (y - half_a_dot, y, y + half_a_dot)}
    assert len(rows) == 1 and rows[0] in near
    assert all(bin(dots(cell)).count("1") == 1 for cell in lines[rows[0]])


def test_a_trace_reaches_both_edges_of_its_field() -> None:
    lines = trace(((0.0, 0.0), (10.0, 10.0)), 10, 5, (0.0, 10.0), (0.0, 10.0))
    assert [len(line) for line in lines] == [10] * 5
    assert dots(lines[-1][0]) and dots(lines[0][-1])
    assert trace((), 4, 2, (0.0, 1.0), (0.0, 1.0)) == (" " * 4,) * 2


@given(st.floats(0, 5), st.floats(0.01, 90), st.integers(1, 12))
def test_ticks_lie_in_the_range_and_are_not_too_many(low: float, reach: float, most: int) -> None:
    found = list(ticks(low, low + reach, most))
    assert len(found) <= most + 1
    assert all(low - 1e-6 <= tick <= low + reach + 1e-6 for tick in found)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5))
def test_spread_rows_gives_each_label_its_own_row(rows: list[int]) -> None:
    apart = spread_rows(sorted(rows), 10)
    assert len(set(apart)) == len(rows)
    assert apart == sorted(apart)
    assert apart[0] >= 0 and apart[-1] < 10
    if len(set(rows)) == len(rows):
        assert apart == sorted(rows)
