"""What follows from the likeliest tokens alone: every completion of the rest lies within, and both ends are reached."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from stage_cases import SIZE, normal
from torch import Tensor
from truncated import completions, partly, truncated

from core.errors import UserError
from core.generation.stop_conditions import parse
from core.sampling.bounds import Bounded, Bounds, between, exact, high, low, through, total
from core.sampling.chart import chart
from core.sampling.distribution import Distribution
from core.sampling.explain import sampler_lens
from core.sampling.next_distribution import NeedsMore
from core.sampling.partial import PartialDistribution, next_distribution
from core.sampling.sampler import Sampler
from tui.reports.json_values import number_json

CLOSE = 1e-4
LINES = ("", "temp=1.7", "temp=0.6", "top_k=9", "top_p=0.93", "min_p=0.01,temp=1.2", "epsilon=0.004", "eta=0.02")


def name(id: int) -> bytes:
    return b"%d" % id


def entropy_bits(logits: Tensor) -> float:
    p = torch.softmax(logits.double(), dim=0)
    return -torch.special.xlogy(p, p).sum().item() / math.log(2)


def within(value: float, bounds: Bounded, close: float = CLOSE) -> bool:
    return low(bounds) - close <= value <= high(bounds) + close


@st.composite
def knowns(draw_: Callable[..., Any]) -> PartialDistribution:
    """The likeliest of up to 40 tokens, each with the mass that leaves room for the rest."""
    size = draw_(st.integers(2, 40))
    count = draw_(st.integers(1, size - 1))
    scores = normal(draw_(st.integers(0, 10**6)), draw_(st.sampled_from([0.3, 1.0, 3.0])))[:size]
    found = truncated(scores, count)
    assert isinstance(found, PartialDistribution)
    assume(found.rest > 1e-3)
    return found


@given(knowns(), st.integers(0, 10**6))
@settings(max_examples=150, deadline=None)
def test_every_completion_lies_within_the_bounds(known: PartialDistribution, seed: int) -> None:
    for logits in completions(known, 6, seed):
        whole = Distribution(logits)
        assert within(entropy_bits(logits), known.entropy_bits)
        assert within(whole.margin(), known.margin())
        for share in (0.13, 0.51, 0.907, 0.97):
            assert within(whole.mass_count(share), known.mass_count(share), 0)
        for id in range(known.vocab_size):
            own, score = whole.score(id), known.score(id)
            assert within(own.probability, score.probability)  # type: ignore[arg-type]
            assert within(own.rank, score.rank, 0) or whole.score(id).probability == pytest.approx(known.highest)


@given(knowns())
@settings(max_examples=100, deadline=None)
def test_the_entropy_is_reached_at_both_ends(known: PartialDistribution) -> None:
    """By the even completion above, and below by the one with as few tokens as possible."""
    even, concentrated = (entropy_bits(logits) for logits in completions(known, 2))
    assert high(known.entropy_bits) == pytest.approx(even, abs=1e-3)
    assert low(known.entropy_bits) == pytest.approx(concentrated, abs=5e-3)
    rest, own = known.rest, known.probabilities
    looser = -(own * np.log2(own)).sum() + rest * math.log2(1 / rest)  # without p ≤ p_k
    assert low(known.entropy_bits) >= looser - 1e-9


def test_the_bounds_in_closed_form() -> None:
    """A half is known; the other half is on at most 8 tokens of at most 1/4: two of them, or eight of 1/16."""
    known = partly([0.25, 0.25], 10)
    assert known.rest == 0.5
    assert known.entropy_bits == Bounds(pytest.approx(2.0), pytest.approx(1.0 + 0.5 * math.log2(16)))  # type: ignore
    assert known.mass_count(0.5) == 2
    assert known.mass_count(0.75) == Bounds(3, 6)
    assert known.mass_count(1.0) == Bounds(4, 10)
    assert known.score(7).probability == Bounds(0.0, 0.25)
    assert f"{known.rank(7) + 1:,}" == "> 0"  # each of the others may be as likely as the two
    assert partly([0.5], 3).margin() == Bounds(0.0, 0.25)
    assert partly([0.9], 3).rank(2) == Bounds(1, math.inf)
    assert f"{partly([0.9], 3).rank(2) + 1:,}" == "> 1"


@pytest.mark.parametrize("known", [1, 5, 40, SIZE - 1])
@pytest.mark.parametrize("line", LINES)
def test_the_chart_and_the_sampler_lens_hold_the_whole_ones(known: int, line: str) -> None:
    scores, sampler = normal(11, 2.0), Sampler.read(line)
    whole, partial = Distribution(scores), truncated(scores, known)
    seen, told = chart(whole, sampler, 5, name, 3), chart(partial, sampler, 5, name, 3)
    assert told.known == known
    assert told.vocab_size == SIZE
    assert 1 - told.unknown_probability == pytest.approx(float(whole.shares[whole.first(known)].sum()), abs=1e-5)
    by_id = {each.id: each for each in seen.candidates}
    for each in told.candidates:
        assert each.probability == pytest.approx(by_id[each.id].probability, abs=1e-6)
        if not told.problem:
            assert within(low(by_id[each.id].sampled_probability), each.sampled_probability)
    assert within(low(seen.entropy_bits), told.entropy_bits)
    assert within(low(seen.effective), told.effective, 0.01)
    assert told.taken and seen.taken
    assert told.taken.probability >= seen.taken.probability - 1e-6 or told.taken.known
    lens, other = sampler_lens(whole, sampler, 0.4, name), sampler_lens(partial, sampler, 0.4, name)
    if other.problem:
        return
    assert within(low(lens.kept), other.kept, 0)
    for one, two in zip(lens.entropies, other.entropies, strict=True):
        assert within(low(one), two, 1e-3)
    for effect, bounded in zip(lens.stages, other.stages, strict=True):
        assert within(low(effect.kept), bounded.kept, 0)
        assert within(low(effect.removed), bounded.removed, 0)
        assert within(low(effect.removed_mass), bounded.removed_mass, 1e-3)
        assert within(low(effect.moved), bounded.moved, 1e-3)
    if other.drawn is None:
        assert re.search("known tokens (decide the draw|do not decide)", other.undecided)
    else:
        assert lens.drawn
        assert other.drawn.id == lens.drawn.id
    intervals = {row.id: row.interval for row in lens.rows}
    for row in other.rows:
        start, end = row.interval
        assert start == end or (start > intervals[row.id][0] - CLOSE and end < intervals[row.id][1] + CLOSE)


def test_all_tokens_known_is_a_plain_distribution() -> None:
    """Its logits are the log-probabilities, and everything else is that of the model's own logits."""
    scores = normal(11, 2.0, 8.0)
    whole, told = Distribution(scores), truncated(scores, SIZE)
    assert type(told) is Distribution
    assert told.from_logprobs
    assert told.known == SIZE
    assert np.abs(told.shares - whole.shares).max() < 1e-6
    assert told.first(SIZE).tolist() == whole.first(SIZE).tolist()
    assert exact(told.entropy_bits)
    assert chart(told, Sampler(), 5, name).known is None


@pytest.mark.parametrize(
    ("ids", "logprobs", "words"),
    [
        ([0, 0], [-1.0, -2.0], "must differ"),
        ([0, 9], [-1.0, -2.0], "below 4"),
        ([0, -1], [-1.0, -2.0], "below 4"),
        ([0, 1], [-1.0, math.nan], "at most 0"),
        ([0, 1], [0.5, -1.0], "at most 0"),
        ([0, 1], [-math.inf, -math.inf], "at least one must be finite"),
        ([0, 1], [-0.1, -0.1], "sum to 1.80967"),
        ([0], [-1.0, -2.0], "1 ids but 2"),
        ([], [], "0 ids"),
        ([0, 1], [-1.0, -9.0], "cannot fill the rest"),
    ],
)
def test_what_is_no_distribution_is_refused(ids: list[int], logprobs: list[float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        next_distribution(ids, logprobs, 4)


def test_a_mass_that_exceeds_one_by_rounding_is_normalised() -> None:
    known = partly([0.8001, 0.2001], 5)
    assert known.rest == 0
    assert math.fsum(known.probabilities) == pytest.approx(1, abs=1e-12)
    assert known.entropy_bits == pytest.approx(entropy_bits(torch.tensor([0.8, 0.2]).log()), abs=1e-3)


def test_a_stop_condition_that_bounds_do_not_decide_asks_for_more() -> None:
    conditions = parse(["entropy > 3"])
    assert conditions.before(Bounds(3.1, 3.4), 0.1)
    assert not conditions.before(Bounds(2.1, 2.9), 0.1)
    with pytest.raises(NeedsMore, match=r"entropy > 3 .* is 2.9–3.1") as error:
        conditions.before(Bounds(2.9, 3.1), 0.1, 100)
    assert error.value.count == 100


# Bounds themselves ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "form", "words"),
    [
        (Bounds(2.314, 2.482), ".2f", "2.31–2.48"),
        (Bounds(2.3141, 2.3139), ".2f", "2.31"),
        (Bounds(2.314, 2.482), ">12.2f", "   2.31–2.48"),
        (Bounds(2.314, 2.482), "<12.2f", "2.31–2.48   "),
        (Bounds(51, math.inf), ",", "> 50"),
        (Bounds(1051, math.inf), ">9,", "  > 1,050"),
        (Bounds(11.2, math.inf), ".1f", "≥ 11.2"),
        (Bounds(-math.inf, -8.1), ".2f", "≤ -8.10"),
        (Bounds(40, 49152), ",", "40–49,152"),
        (Bounds(0.0, 0.034), ".2f", "≤ 0.03"),
    ],
)
def test_bounds_are_written_as_both_ends(value: Bounds, form: str, words: str) -> None:
    assert format(value, form) == words


def test_bounds_add_up_and_go_through_monotone_functions() -> None:
    assert total([1.0, Bounds(2.0, 3.0), 0.5]) == Bounds(3.5, 4.5)
    assert total([1.0, 0.5]) == 1.5
    assert Bounds(1.0, 2.0) + 1 == 1 + Bounds(1.0, 2.0) == Bounds(2.0, 3.0)
    assert through(lambda x: -x, Bounds(1.0, 2.0)) == Bounds(-2.0, -1.0)
    assert between(2.0, 2.0) == 2.0
    assert json.dumps([number_json(each) for each in (Bounds(1.0, math.inf), 2.0)]) == "[[1.0, null], 2.0]"
