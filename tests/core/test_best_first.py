"""The N likeliest answers are those of all answers, and what is called proved is true at any time."""

import math
from typing import Any

import pytest
from searches import every_answer, tiny

from core.errors import UserError
from core.loading.model import Model
from core.search import best_first
from core.search.continuations import Reader
from core.search.settings import BestSettings
from core.search.values import BestState

PROMPT = [1, 0, 2]


def states(model: Model, settings: BestSettings, stops: Any = (), width: int = 4) -> list[BestState]:
    return list(best_first.search(Reader(model, PROMPT, width), settings, stops))


@pytest.mark.parametrize("width", [1, 4, 8])
@pytest.mark.parametrize("stops", [(), (2,), (0, 4)], ids=len)
@pytest.mark.parametrize(("seed", "sharpness"), [(0, 1.0), (1, 4.0), (2, 0.2), (3, 12.0)])
def test_the_answers_are_the_likeliest_of_all(seed: int, sharpness: float, stops: tuple[int, ...], width: int) -> None:
    """Against every answer of up to four tokens of five ids, for flat and for sharp distributions."""
    model = tiny(5, seed, sharpness)
    want = sorted(every_answer(model, PROMPT, 4, stops).items(), key=lambda each: -each[1])[:7]
    last = states(model, BestSettings(7, 4), stops, width)[-1]
    assert last.reason == "proved"
    assert last.proved == 7
    assert [answer.logprob for answer in last.answers] == pytest.approx([each for _, each in want], rel=3e-6, abs=1e-5)
    assert [answer.ids for answer in last.answers] == [ids for ids, _ in want]
    assert [answer.ended for answer in last.answers] == [ids[-1] in stops for ids, _ in want]


@pytest.mark.parametrize("settings", [{}, {"room": 8}, {"room": 2}, {"nodes": 9}, {"nodes": 1}], ids=str)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_is_proved_is_true_after_every_batch(seed: int, settings: dict[str, int]) -> None:
    """Under every budget: the proved answers are the first of all answers, and the bound holds for the others."""
    model = tiny(6, seed, 3.0)
    everything = every_answer(model, PROMPT, 4, (3,))
    want = sorted(everything.values(), reverse=True)
    for state in states(model, BestSettings(5, 4, **settings), (3,)):
        proved = [answer.logprob for answer in state.answers[: state.proved]]
        assert proved == pytest.approx(want[: state.proved], abs=1e-5)
        found = {answer.ids for answer in state.answers}
        highest = max(logprob for ids, logprob in everything.items() if ids not in found)
        worst = state.answers[-1].logprob if len(state.answers) == 5 else -math.inf
        assert highest <= max(worst, -math.inf if state.bound is None else state.bound) + 1e-5
        assert state.expanded <= BestSettings(**settings).nodes


def test_a_budget_ends_a_search_with_its_gap() -> None:
    """Nine distributions are too few for a flat model: the answers stay, the gap says what is not proved."""
    last = states(tiny(6, 0, 0.1), BestSettings(3, 5, nodes=20))[-1]
    assert last.reason == "nodes"
    assert last.expanded == 20
    assert len(last.answers) == 3
    assert last.proved < 3
    assert last.gap is not None
    assert last.gap > 0


def test_dropping_what_waits_never_proves_too_much() -> None:
    """Room for four beginnings: the search ends without a proof, and says so."""
    last = states(tiny(6, 0, 0.1), BestSettings(3, 5, room=4))[-1]
    assert last.reason == "no room"
    assert last.proved < 3


def test_fewer_answers_than_wanted_are_all_there_are() -> None:
    """Four ids and one token: four answers, all proved, no gap."""
    last = states(tiny(4), BestSettings(9, 1))[-1]
    assert last.reason == "proved"
    assert len(last.answers) == last.proved == 4
    assert last.gap is None
    assert math.fsum(math.exp(answer.logprob) for answer in last.answers) == pytest.approx(1.0, abs=1e-6)


def test_more_continuations_than_are_kept_at_once_are_all_tried() -> None:
    """257 ids: the rest behind the first 32 waits as one entry, and comes in its turn."""
    model = tiny(257, 0, 0.0)  # every token is equally likely
    last = states(model, BestSettings(100, 2, nodes=400))[-1]
    assert len(last.answers) == 100
    assert len({answer.ids for answer in last.answers}) == 100
    assert last.answers[0].logprob == pytest.approx(-2 * math.log(257), abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "named"), [({"count": 0}, "0"), ({"count": 1001}, "1001"), ({"length": 0}, "0"), ({"nodes": 0}, "0")]
)
def test_settings_out_of_range_are_refused(settings: dict[str, int], named: str) -> None:
    with pytest.raises(UserError, match=named):
        BestSettings(**settings)
