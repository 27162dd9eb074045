"""The chart's maths without an app: lengths of bars, where they end, and what the sampler's stages say."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from core.sampling.sampler import Sampler
from core.sampling.values import SamplerStage
from tui.drawing.bars import FLAT, bar, bars, scale_for
from tui.drawing.sampler import sampler_text, stages_line

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


@given(st.integers(1, 20), st.data())
def test_a_bar_is_as_long_as_it_says(width: int, data: st.DataObject) -> None:
    halves = data.draw(st.integers(0, 2 * width))
    assert filled(bar(halves, 0, width)) == halves / 2


@pytest.mark.parametrize("width", [6, 17, 40])
def test_a_larger_share_is_never_shorter(width: int) -> None:
    many = [n / 200 for n in range(201)]
    lengths = [filled(row) for row in bars(many, [0.0] * len(many), width, 1.0)]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (0, width)


@pytest.mark.parametrize("width", [6, 17, 40])
def test_what_the_model_gave_beyond_the_draw_is_hatched(width: int) -> None:
    (row,) = bars([0.25], [0.75], width, 1.0)
    assert "░" in row
    assert row.index("░") >= filled(row) - 0.5
    assert abs(reached(row) - 0.75 * width) <= 1


def test_nothing_is_hatched_where_the_draw_gives_more_than_the_model() -> None:
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
def test_bars_end_at_a_round_number_that_holds_the_largest(largest: float) -> None:
    scale = scale_for(largest)
    assert scale >= largest
    if largest > FLAT:
        assert scale == 1
    elif largest > 1e-11:
        assert scale <= 5 * largest * 1.0000001
        assert f"{scale:e}"[:8] in ("1.000000", "2.000000", "5.000000")


def stages(temperature: float = 1.0, *, k: tuple[int, float], p: tuple[int, float]) -> tuple[SamplerStage, ...]:
    """What is left after each stage, from a vocabulary of 100."""
    return (
        SamplerStage("raw", 100, 1.0),
        SamplerStage("temperature", 1 if temperature == 0 else 100, 1.0),
        SamplerStage("top-k", *k),
        SamplerStage("top-p", *p),
        SamplerStage("renormalised", p[0], 1.0),
    )


def test_the_stages_are_told_in_the_order_they_act() -> None:
    line = stages_line(stages(k=(40, 0.9), p=(12, 0.45)), Sampler(temperature=0.7, top_k=40, top_p=0.5), 120)
    assert line == "T 0.7 → k 40 cuts 10.0% → p 0.50 cuts 45.0% → 12 kept"


def test_stages_that_cut_nothing_say_off() -> None:
    assert stages_line(stages(k=(100, 1.0), p=(100, 1.0)), Sampler(), 120) == "T 1.0 → k off → p off → 100 kept"


def test_greedy_is_named() -> None:
    line = stages_line(stages(0, k=(1, 1.0), p=(1, 1.0)), Sampler(temperature=0), 120)
    assert line.startswith("greedy")
    assert line.endswith("1 kept")


def test_where_there_is_little_room_the_ends_are_told() -> None:
    line = stages_line(stages(k=(40, 0.9), p=(12, 0.45)), Sampler(temperature=0.7, top_k=40, top_p=0.5), 30)
    assert line == "T 0.7 → 12 kept"


def test_a_setting_is_shown_as_it_was_set() -> None:
    """Rounding would name another temperature or share than the one that is drawn with."""
    line = stages_line(stages(k=(100, 1.0), p=(90, 0.999)), Sampler(temperature=0.75, top_p=0.999), 120)
    assert line == "T 0.75 → k off → p 0.999 cuts 0.1% → 90 kept"
    assert sampler_text(Sampler(temperature=0.001, top_p=0.995)) == "T 0.001 k off p 0.995"
    assert sampler_text(Sampler(temperature=0.7, top_p=0.9)) == "T 0.70 k off p 0.90"


def test_min_p_is_told_only_where_it_is_set() -> None:
    told = (
        SamplerStage("raw", 100, 1.0),
        SamplerStage("temperature", 100, 1.0),
        SamplerStage("top-k", 40, 0.9),
        SamplerStage("top-p", 40, 0.9),
        SamplerStage("min-p", 10, 0.6),
        SamplerStage("renormalised", 10, 1.0),
    )
    line = stages_line(told, Sampler(top_k=40, min_p=0.05), 120)
    assert line == "T 1.0 → k 40 cuts 10.0% → p off → min-p 0.05 cuts 30.0% → 10 kept"
    off = (*told[:4], SamplerStage("min-p", 40, 0.9), SamplerStage("renormalised", 40, 1.0))
    assert stages_line(off, Sampler(top_k=40), 120) == "T 1.0 → k 40 cuts 10.0% → p off → 40 kept"


def test_temperature_last_is_told_last_and_cuts_nothing() -> None:
    told = (
        SamplerStage("raw", 100, 1.0),
        SamplerStage("top-k", 40, 0.9),
        SamplerStage("top-p", 12, 0.45),
        SamplerStage("min-p", 12, 0.45),
        SamplerStage("temperature", 12, 0.2),
        SamplerStage("renormalised", 12, 1.0),
    )
    sampler = Sampler(temperature=2, top_k=40, top_p=0.5, order="temperature last")
    assert stages_line(told, sampler, 120) == "k 40 cuts 10.0% → p 0.50 cuts 45.0% → T 2.0 → 12 kept"
    assert stages_line(told, sampler, 30) == "T 2.0 → 12 kept"
