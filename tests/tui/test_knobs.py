"""The steps in which keys change the settings of the sampler."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.sampling.sampler import Sampler
from core.sampling.stages.min_p import MinP
from core.sampling.stages.temp import Temperature
from core.sampling.stages.top_k import TopK
from core.sampling.stages.top_p import TopP
from tui import knobs

samplers = st.builds(
    Sampler.of,
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
    assert knobs.temperature(Sampler.of(temperature=start), by).value(Temperature) == end


@pytest.mark.parametrize(
    ("start", "by", "end"),
    [(0, 1, 0), (0, -1, 10_000), (10_000, 1, 0), (50, -1, 40), (50, 1, 100), (1, -1, 1), (20_000, 1, 0)],
)
def test_top_k_moves_along_round_numbers_to_off(start: int, by: int, end: int) -> None:
    assert knobs.top_k(Sampler.of(top_k=start), by).value(TopK) == end


@pytest.mark.parametrize(
    ("start", "down", "up"), [(7, 5, 10), (45, 40, 50), (1_500, 1_000, 2_000), (20_000, 10_000, 0)]
)
def test_top_k_from_a_number_between_two_steps_goes_to_the_nearest(start: int, down: int, up: int) -> None:
    assert knobs.top_k(Sampler.of(top_k=start), -1).value(TopK) == down
    assert knobs.top_k(Sampler.of(top_k=start), 1).value(TopK) == up


@pytest.mark.parametrize(("start", "by", "end"), [(0, -1, 500), (500, 1, 0), (10_000, -1, 500), (500, -1, 200)])
def test_top_k_stays_below_the_size_of_the_vocabulary(start: int, by: int, end: int) -> None:
    assert knobs.top_k(Sampler.of(top_k=start), by, vocab_size=825).value(TopK) == end


@pytest.mark.parametrize(("start", "by", "end"), [(1, 1, 1), (1, -1, 0.95), (0.9, 1, 0.95), (0.05, -1, 0.05)])
def test_top_p_moves_in_twentieths_from_005_to_1(start: float, by: int, end: float) -> None:
    assert knobs.top_p(Sampler.of(top_p=start), by).value(TopP) == end


@pytest.mark.parametrize(("start", "by", "end"), [(0, -1, 0), (0, 1, 0.05), (0.1, -1, 0.05), (0.05, -1, 0), (1, 1, 1)])
def test_min_p_moves_in_twentieths_from_off_to_1(start: float, by: int, end: float) -> None:
    assert knobs.min_p(Sampler.of(min_p=start), by).value(MinP) == end


@given(samplers)
def test_a_step_never_goes_the_wrong_way(sampler: Sampler) -> None:
    assert (
        knobs.temperature(sampler, -1).value(Temperature)
        <= sampler.value(Temperature)
        <= knobs.temperature(sampler, 1).value(Temperature)
    )
    assert (
        reach(knobs.top_k(sampler, -1).value(TopK))
        <= reach(sampler.value(TopK))
        <= reach(knobs.top_k(sampler, 1).value(TopK))
    )
    assert knobs.top_p(sampler, -1).value(TopP) <= sampler.value(TopP) <= knobs.top_p(sampler, 1).value(TopP)
    assert knobs.min_p(sampler, -1).value(MinP) <= sampler.value(MinP) <= knobs.min_p(sampler, 1).value(MinP)


@given(st.sampled_from(TopK.knobs()[0].ladder[1:-2]))
def test_a_step_up_and_down_ends_where_it_began(k: int) -> None:
    assert knobs.top_k(knobs.top_k(Sampler.of(top_k=k), 1), -1).value(TopK) == k


def test_a_step_changes_no_other_setting() -> None:
    sampler = Sampler.of(temperature=0.7, top_k=40, top_p=0.9, min_p=0.1, order="temperature last", seed=7)
    turned = knobs.min_p(knobs.top_p(knobs.top_k(knobs.temperature(sampler, 1), 1), 1), 1)
    want = Sampler.of(temperature=0.8, top_k=50, top_p=0.95, min_p=0.15, order="temperature last", seed=7)
    assert turned == want
