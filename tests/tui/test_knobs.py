"""The steps in which keys turn the sampler."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.sampling.sampler import Sampler
from tui import knobs

samplers = st.builds(
    Sampler,
    temperature=st.floats(0, 20),
    top_k=st.integers(0, 200_000),
    top_p=st.floats(0, 1, exclude_min=True),
    min_p=st.floats(0, 1),
)


def reach(k: int) -> float:
    """How many tokens a k keeps."""
    return k or float("inf")


@pytest.mark.parametrize(("start", "by", "end"), [(1.0, 1, 1.1), (1.0, -1, 0.9), (0.1, -1, 0), (0, -1, 0), (5, 1, 5)])
def test_the_temperature_moves_in_tenths_from_0_to_5(start: float, by: int, end: float) -> None:
    assert knobs.temperature(Sampler(temperature=start), by).temperature == end


@pytest.mark.parametrize(
    ("start", "by", "end"),
    [(0, 1, 0), (0, -1, 10_000), (10_000, 1, 0), (50, -1, 40), (50, 1, 100), (1, -1, 1), (20_000, 1, 0)],
)
def test_top_k_moves_along_round_numbers_to_off(start: int, by: int, end: int) -> None:
    assert knobs.top_k(Sampler(top_k=start), by).top_k == end


@pytest.mark.parametrize(
    ("start", "down", "up"), [(7, 5, 10), (45, 40, 50), (1_500, 1_000, 2_000), (20_000, 10_000, 0)]
)
def test_top_k_from_a_number_between_two_steps_goes_to_the_nearest(start: int, down: int, up: int) -> None:
    assert knobs.top_k(Sampler(top_k=start), -1).top_k == down
    assert knobs.top_k(Sampler(top_k=start), 1).top_k == up


@pytest.mark.parametrize(("start", "by", "end"), [(1, 1, 1), (1, -1, 0.95), (0.9, 1, 0.95), (0.05, -1, 0.05)])
def test_top_p_moves_in_twentieths_from_005_to_1(start: float, by: int, end: float) -> None:
    assert knobs.top_p(Sampler(top_p=start), by).top_p == end


@pytest.mark.parametrize(("start", "by", "end"), [(0, -1, 0), (0, 1, 0.05), (0.1, -1, 0.05), (0.05, -1, 0), (1, 1, 1)])
def test_min_p_moves_in_twentieths_from_off_to_1(start: float, by: int, end: float) -> None:
    assert knobs.min_p(Sampler(min_p=start), by).min_p == end


@given(samplers)
def test_a_step_never_goes_the_wrong_way(sampler: Sampler) -> None:
    assert (
        knobs.temperature(sampler, -1).temperature <= sampler.temperature <= knobs.temperature(sampler, 1).temperature
    )
    assert reach(knobs.top_k(sampler, -1).top_k) <= reach(sampler.top_k) <= reach(knobs.top_k(sampler, 1).top_k)
    assert knobs.top_p(sampler, -1).top_p <= sampler.top_p <= knobs.top_p(sampler, 1).top_p
    assert knobs.min_p(sampler, -1).min_p <= sampler.min_p <= knobs.min_p(sampler, 1).min_p


@given(st.sampled_from(knobs.TOP_K[1:-1]))
def test_a_step_up_and_down_ends_where_it_began(k: int) -> None:
    assert knobs.top_k(knobs.top_k(Sampler(top_k=k), 1), -1).top_k == k


def test_a_knob_turns_nothing_else() -> None:
    sampler = Sampler(temperature=0.7, top_k=40, top_p=0.9, min_p=0.1, order="temperature last", seed=7)
    turned = knobs.min_p(knobs.top_p(knobs.top_k(knobs.temperature(sampler, 1), 1), 1), 1)
    want = Sampler(temperature=0.8, top_k=50, top_p=0.95, min_p=0.15, order="temperature last", seed=7)
    assert turned == want
