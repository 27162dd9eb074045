"""Bars, meters, shades and ticks, computed without an app: their lengths and the scale they end at."""

from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.style import Style

from tui.drawing.bars import (
    EIGHTHS,
    FLAT,
    TICK,
    Axis,
    bar,
    bars,
    columns,
    hundredths,
    meter,
    scale_for,
    shade,
    signed_bar,
    tick_at,
    ticked,
)
from tui.drawing.figure import blank_figure, rows_of

shares = st.floats(0, 1)


def filled(row: str) -> float:
    """The length of the solid part in cells."""
    return row.count("█") + row.count("▌") / 2


def reached(row: str) -> int:
    """Cells that are not blank."""
    return len(row.rstrip(" "))


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 20))
@example(0, 0, 2)
@example(1, 40, 20)
def test_a_bar_is_exactly_its_width(share: int, ghost: int, width: int) -> None:
    row = bar(min(share, 2 * width), min(ghost, 2 * width), width)
    assert cell_len(row) == len(row) == width
    assert set(row) <= set("█▌░ ")


@pytest.mark.parametrize("width", [1, 2, 7])
def test_a_bar_is_that_of_plotext(width: int) -> None:
    """Drawn there a quarter cell short, so that the last half cell is the one in which the length ends."""
    for share, ghost in product(range(2 * width + 1), repeat=2):
        figure = blank_figure(width, 1)
        for length, marker in ((ghost, "░"), (share, "hd")):
            if length:
                figure.draw(figure.bar([1], [(length - 0.5) / 2], orientation="h", width=0.6, marker=marker))
        figure.ruler("x").lim(0, width).ticks([]).alignment(lim="edge")
        figure.ruler("y").lim(0.5, 1.5).ticks([]).alignment(lim="edge")
        assert bar(share, ghost, width) == rows_of(figure, width, 1)[0]


@given(st.integers(1, 20), st.data())
def test_a_bar_is_as_long_as_its_share(width: int, data: st.DataObject) -> None:
    halves = data.draw(st.integers(0, 2 * width))
    assert filled(bar(halves, 0, width)) == halves / 2


@pytest.mark.parametrize("width", [6, 17, 40])
def test_a_larger_share_never_has_a_shorter_bar(width: int) -> None:
    many = [n / 200 for n in range(201)]
    lengths = [filled(row) for row in bars(many, [0.0] * len(many), width, 1.0)]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (0, width)


@pytest.mark.parametrize("width", [6, 17, 40])
def test_a_probability_above_the_drawn_share_is_hatched(width: int) -> None:
    (row,) = bars([0.25], [0.75], width, 1.0)
    assert "░" in row
    assert row.index("░") >= filled(row) - 0.5
    assert abs(reached(row) - 0.75 * width) <= 1


def test_nothing_is_hatched_where_the_drawn_share_is_larger() -> None:
    (row,) = bars([0.75], [0.25], 20, 1.0)
    assert "░" not in row
    assert filled(row) == 15


@given(shares, shares)
@example(1.0, 1.0)
@example(0.0, 1.0)
def test_a_share_above_the_scale_fills_the_row(share: float, scale: float) -> None:
    scale = max(scale, 1e-6)
    (row,) = bars([share], [share], 12, scale)
    assert len(row) == 12
    if share >= scale:
        assert row == "█" * 12


@given(shares)
@example(0.0)
@example(0.05)
@example(0.001)
def test_the_scale_is_the_round_number_above_the_largest_share(largest: float) -> None:
    scale = scale_for(largest)
    assert scale >= largest
    if largest > FLAT:
        assert scale == 1
    elif largest > 1e-11:
        assert scale <= 5 * largest * 1.0000001
        assert f"{scale:e}"[:8] in ("1.000000", "2.000000", "5.000000")


@given(shares, st.integers(1, 60))
def test_a_meter_is_as_long_as_its_share_to_half_a_cell(share: float, width: int) -> None:
    drawn = meter(share, width)
    assert len(drawn) == width
    assert abs(drawn.count("█") + drawn.count("▌") / 2 - share * width) <= 0.25 + 1e-9
    assert bool(drawn.strip()) == (share > 0)


@given(st.lists(shares, min_size=1, max_size=30), st.integers(1, 10))
def test_a_column_is_as_high_as_its_share_to_an_eighth_of_a_cell(given_shares: list[float], height: int) -> None:
    lines = columns(given_shares, height)
    assert [len(line) for line in lines] == [len(given_shares)] * height
    for share, cells in zip(given_shares, zip(*lines, strict=True), strict=True):
        eighths = sum(EIGHTHS.index(cell) for cell in cells)
        assert abs(eighths - 8 * height * share) <= 0.5 or (eighths == 1 and share > 0)


@given(shares, shares)
def test_a_larger_share_never_has_a_lighter_shade(one: float, other: float) -> None:
    dark = " ░▒▓█"
    assert (one <= other) <= (dark.index(shade(one)) <= dark.index(shade(other)))


@given(shares)
def test_hundredths_have_three_cells_and_are_rounded(share: float) -> None:
    assert len(hundredths(share)) == 3
    assert abs(float(hundredths(share)) - share) <= 0.005 + 1e-9


@given(st.floats(0, 1), st.integers(1, 60), st.sampled_from([0.05, 0.5, 1.0]))
def test_a_tick_is_in_the_cell_where_the_true_probability_ends(true: float, width: int, scale: float) -> None:
    tick = tick_at(true, width, scale)
    if not 0 < true <= scale:
        assert tick is None
    else:
        assert tick is not None
        assert 0 <= tick < width
        assert tick == width - 1 or tick <= true * width / scale < tick + 1


def test_an_unknown_probability_has_no_tick() -> None:
    assert tick_at(None, 20, 1.0) is None


@given(st.lists(st.text("█▌░ ", max_size=6), max_size=4), st.integers(0, 30))
def test_a_tick_replaces_one_cell(pieces: list[str], tick: int) -> None:
    row = "".join(pieces)
    drawn = list(ticked([(piece, Style()) for piece in pieces], tick, Style(bold=True)))
    expected = row[:tick] + TICK + row[tick + 1 :] if tick < len(row) else row
    assert "".join(text for text, _ in drawn) == expected
    assert [text for text, style in drawn if style.bold] == ([TICK] if tick < len(row) else [])


def test_a_signed_bar_goes_to_its_side_of_the_axis() -> None:
    assert signed_bar(0.5, 4) == ("    ", "██  ")
    assert signed_bar(-0.5, 4) == ("  ██", "    ")
    assert signed_bar(-0.375, 4) == ("  ▐█", "    ")
    assert signed_bar(0.125, 4) == ("    ", "▌   ")
    assert signed_bar(0.001, 4) == ("    ", "▏   ")
    assert signed_bar(-0.001, 4) == ("   ▕", "    ")
    assert signed_bar(0, 4) == ("    ", "    ")
    assert signed_bar(3, 4) == ("    ", "███▶")
    assert signed_bar(-3, 4) == ("◀███", "    ")


positive = st.floats(1e-300, 1)


@given(st.lists(positive, min_size=1, max_size=9))
@example([1.0])
@example([1e-12, 0.999])
def test_a_logarithmic_axis_has_room_for_each_share_and_keeps_their_order(given_shares: list[float]) -> None:
    axis = Axis.of(given_shares, logarithmic=True)
    assert all(0 < axis.at(share) <= 1 + 1e-9 for share in given_shares)
    assert sorted(given_shares) == sorted(given_shares, key=axis.at)
    assert axis.at(0.0) == 0


def test_equal_ratios_are_equal_steps_of_a_logarithmic_axis() -> None:
    axis = Axis.of([0.9, 0.002], logarithmic=True)
    assert (axis.least, axis.most) == (0.001, 1.0)
    assert [axis.at(share) for share in (0.01, 0.1, 1.0)] == pytest.approx([1 / 3, 2 / 3, 1.0])


def test_a_linear_axis_ends_at_the_scale_of_the_largest_share() -> None:
    axis = Axis.of([0.04, 0.0], logarithmic=False)
    assert (axis.most, axis.at(0.05), axis.at(0.025), axis.at(0.1)) == (0.05, 1.0, 0.5, 2.0)


@pytest.mark.parametrize(
    ("axis", "width", "shown"),
    [
        (Axis(1.0), 12, "0%      100%"),
        (Axis(1.0), 6, "0 100%"),
        (Axis(1.0), 5, " 100%"),
        (Axis(0.05), 10, "0%      5%"),
        (Axis(5e-7), 10, "0%   5e-5%"),
        (Axis(1.0, 1e-7), 12, "1e-5%   100%"),
        (Axis(1.0, 1e-7), 20, "1e-5%    log    100%"),
        (Axis(1.0, 1e-7), 9, "1e-5 100%"),
        (Axis(1.0, 1e-7), 6, "1e-5% "),
        (Axis(1.0, 0.001), 12, "0.1%    100%"),
    ],
)
def test_an_axis_names_its_ends_in_percent(axis: Axis, width: int, shown: str) -> None:
    assert axis.label(width) == shown
