"""What lenses draw with, as maths: meters, columns, shades, curves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.panels.plots import EIGHTHS, columns, curve, hundredths, meter, shade

shares = st.floats(0, 1)


@given(shares, st.integers(1, 60))
def test_a_meter_is_as_long_as_its_share_to_half_a_cell(share: float, width: int) -> None:
    drawn = meter(share, width)
    assert len(drawn) == width
    assert abs(drawn.count("█") + drawn.count("▌") / 2 - share * width) <= 0.25 + 1e-9
    assert bool(drawn.strip()) == (share > 0)


@given(st.lists(shares, min_size=1, max_size=30), st.integers(1, 10))
def test_columns_are_as_high_as_their_shares_to_an_eighth(given_shares: list[float], height: int) -> None:
    lines = columns(given_shares, height)
    assert [len(line) for line in lines] == [len(given_shares)] * height
    for share, cells in zip(given_shares, zip(*lines, strict=True), strict=True):
        eighths = sum(EIGHTHS.index(cell) for cell in cells)
        assert abs(eighths - 8 * height * share) <= 0.5 or (eighths == 1 and share > 0)


@given(shares, shares)
def test_a_larger_share_never_looks_lighter(one: float, other: float) -> None:
    dark = " ░▒▓█"
    assert (one <= other) <= (dark.index(shade(one)) <= dark.index(shade(other)))


@given(shares)
def test_hundredths_take_three_cells_and_round(share: float) -> None:
    assert len(hundredths(share)) == 3
    assert abs(float(hundredths(share)) - share) <= 0.005 + 1e-9


def heights(drawn: tuple[str, ...]) -> list[int]:
    """The highest line with a dot in each column, counted from the top."""
    return [next((y for y, line in enumerate(drawn) if line[x] not in " \u2800"), -1) for x in range(len(drawn[0]))]


@pytest.mark.parametrize("size", [(2, 1), (20, 5), (57, 12)])
def test_a_rising_line_rises(size: tuple[int, int]) -> None:
    width, height = size
    drawn = curve(tuple(n / 10 for n in range(11)), width, height, 0.0, 1.0)
    assert [len(line) for line in drawn] == [width] * height
    tops = heights(drawn)
    assert tops == sorted(tops, reverse=True)
    assert (tops[0], tops[-1]) == (height - 1, 0)


def test_what_cannot_be_a_line_is_blank() -> None:
    assert curve((0.5,), 10, 3, 0.0, 1.0) == (" " * 10,) * 3
    assert curve((), 10, 3, 0.0, 1.0) == (" " * 10,) * 3


def test_a_flat_line_is_drawn_at_its_height() -> None:
    drawn = curve((0.0, 0.0, 0.0), 12, 4, 0.0, 0.0)
    assert set(heights(drawn)) == {3}
