"""The steps in which keys change the settings of the sampler."""

from typing import Any

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
    assert knobs.turned(Sampler.of(temperature=start), "temperature", by).value(Temperature) == end


@pytest.mark.parametrize(
    ("start", "by", "end"),
    [(0, 1, 0), (0, -1, 10_000), (10_000, 1, 0), (50, -1, 40), (50, 1, 100), (1, -1, 1), (20_000, 1, 0)],
)
def test_top_k_moves_along_round_numbers_to_off(start: int, by: int, end: int) -> None:
    assert knobs.turned(Sampler.of(top_k=start), "top_k", by).value(TopK) == end


@pytest.mark.parametrize(
    ("start", "down", "up"), [(7, 5, 10), (45, 40, 50), (1_500, 1_000, 2_000), (20_000, 10_000, 0)]
)
def test_top_k_from_a_number_between_two_steps_goes_to_the_nearest(start: int, down: int, up: int) -> None:
    assert knobs.turned(Sampler.of(top_k=start), "top_k", -1).value(TopK) == down
    assert knobs.turned(Sampler.of(top_k=start), "top_k", 1).value(TopK) == up


@pytest.mark.parametrize(("start", "by", "end"), [(0, -1, 500), (500, 1, 0), (10_000, -1, 500), (500, -1, 200)])
def test_top_k_stays_below_the_size_of_the_vocabulary(start: int, by: int, end: int) -> None:
    assert knobs.turned(Sampler.of(top_k=start), "top_k", by, vocab_size=825).value(TopK) == end


@pytest.mark.parametrize(("start", "by", "end"), [(1, 1, 1), (1, -1, 0.95), (0.9, 1, 0.95), (0.05, -1, 0.05)])
def test_top_p_moves_in_twentieths_from_005_to_1(start: float, by: int, end: float) -> None:
    assert knobs.turned(Sampler.of(top_p=start), "top_p", by).value(TopP) == end


@pytest.mark.parametrize(("start", "by", "end"), [(0, -1, 0), (0, 1, 0.05), (0.1, -1, 0.05), (0.05, -1, 0), (1, 1, 1)])
def test_min_p_moves_in_twentieths_from_off_to_1(start: float, by: int, end: float) -> None:
    assert knobs.turned(Sampler.of(min_p=start), "min_p", by).value(MinP) == end


@given(samplers)
def test_a_step_never_goes_the_wrong_way(sampler: Sampler) -> None:
    for name, kind in knobs.KINDS.items():
        down, here, up = (
            each.value(kind) for each in (knobs.turned(sampler, name, -1), sampler, knobs.turned(sampler, name, 1))
        )
        if kind is TopK:
            down, here, up = map(reach, (int(down), int(here), int(up)))
        assert down <= here <= up, name


@given(st.sampled_from(TopK.knobs()[0].ladder[1:-2]))
def test_a_step_up_and_down_ends_where_it_began(k: int) -> None:
    assert knobs.turned(knobs.turned(Sampler.of(top_k=k), "top_k", 1), "top_k", -1).value(TopK) == k


def test_a_step_changes_no_other_setting() -> None:
    sampler = Sampler.of(temperature=0.7, top_k=40, top_p=0.9, min_p=0.1, order="temperature last", seed=7)
    turned = sampler
    for name in knobs.KINDS:
        turned = knobs.turned(turned, name, 1)
    want = Sampler.of(temperature=0.8, top_k=50, top_p=0.95, min_p=0.15, order="temperature last", seed=7)
    assert turned == want


# Keys that have no effect -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampler", "keys", "said"),
    [
        ("temp=1", ["greater_than_sign"], "top-k is off already; < turns it on"),
        ("temp=1", ["right_curly_bracket"], "top-p is off already; { turns it on"),
        ("temp=1", ["left_parenthesis"], "min-p is off already; ) turns it on"),
        ("temp=1,top_k=1", ["less_than_sign"], "top-k is 1 already; this key goes no lower"),
        ("temp=5", ["right_square_bracket"], "temperature is 5 already; this key goes no higher"),
        ("temp=0", ["left_square_bracket"], "temperature is 0 already; this key goes no lower"),
        (
            "temp=0",
            ["less_than_sign"],
            "temperature 0 always takes the likeliest token, so top-k has no effect; ] raises the temperature",
        ),
        (
            "temp=0",
            ["s", "7", "enter"],
            "temperature 0 always takes the likeliest token, so the seed has no effect; ] raises the temperature",
        ),
        ("temp=0", ["right_square_bracket"], None),
        ("temp=1", ["less_than_sign", "left_square_bracket", "s", "7", "enter"], None),
    ],
)
async def test_a_key_without_effect_says_why(
    scripted: Any, scenes: Any, sampler: str, keys: list[str], said: str | None
) -> None:
    async with scripted(scenes.oat_milk(), text="a", sampler=Sampler.read(sampler)).run_test(size=(80, 24)) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
        assert [note.message for note in pilot.app._notifications] == ([said] if said else [])


async def test_the_lens_of_the_sampler_says_why_a_knob_does_not_turn(real: Any, settle: Any, press: Any) -> None:
    async with real("oat").run_test(size=(110, 30)) as pilot:
        await settle(pilot)
        pilot.app.turn_to("sampler")
        await press(pilot, "down", "shift+right")
        (note,) = pilot.app._notifications
        assert note.message == "top-k is off already; ⇧← turns it on"
