"""Why a token was drawn: both orders of the stages against transformers, and the explanation against its definition."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    LogitsProcessor,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from core.errors import UserError
from core.sampling.apply import apply_stages
from core.sampling.chart import chart
from core.sampling.distribution import Distribution
from core.sampling.draw import draw
from core.sampling.explain import sampler_lens
from core.sampling.explanation import SamplerLens
from core.sampling.sampler import ORDERS, Sampler
from core.sampling.stages.min_p import MinP
from core.sampling.stages.stage import Stage
from core.sampling.stages.temp import Temperature
from core.sampling.stages.top_k import TopK
from core.sampling.stages.top_p import TopP

EXTREMES = (0.0, -1e4, 1e4, 88.0, -104.0, 3e38)


def name(id: int) -> bytes:
    return b"%d" % id


@st.composite
def many_logits(draw_: Callable[..., object]) -> Tensor:
    """Up to 300 logits: smooth ones, ones in steps (ties), ones with holes, ones with extremes."""
    seed, size = draw_(st.integers(0, 2**31)), draw_(st.integers(1, 300))
    scale, step = draw_(st.sampled_from([0.01, 1.0, 5.0, 40.0])), draw_(st.sampled_from([0.0, 0.25, 1.0]))
    logits = scale * torch.randn(size, generator=torch.Generator().manual_seed(seed))
    if step:
        logits = (logits / step).round() * step
    for at, value in draw_(st.lists(st.tuples(st.integers(0, size - 1), st.sampled_from([*EXTREMES, -math.inf])))):
        logits[at] = value
    assume(logits.max() > -math.inf)
    return logits


samplers = st.builds(
    Sampler.of,
    temperature=st.sampled_from([0.1, 0.5, 0.7, 1.0, 1.3, 2.0, 10.0]),
    top_k=st.sampled_from([0, 1, 2, 3, 10, 50, 1000]),
    top_p=st.sampled_from([1.0, 0.99, 0.9, 0.5, 0.1, 0.001]),
    min_p=st.sampled_from([0.0, 0.001, 0.05, 0.1, 0.5, 1.0]),
    order=st.sampled_from(ORDERS),
)
us = st.floats(0, 1, exclude_max=True)


def transformers_stages(logits: Tensor, sampler: Sampler) -> dict[str, Tensor]:
    """Logits [V] in float64 after each stage that is on, in the sampler's order, by the warpers of transformers."""
    warpers: dict[type[Stage], Callable[..., LogitsProcessor]] = {
        Temperature: TemperatureLogitsWarper,
        TopK: TopKLogitsWarper,
        TopP: TopPLogitsWarper,
        MinP: MinPLogitsWarper,
    }
    scores, found = logits.double()[None], {}
    for stage in sampler.stages:
        if stage.active:
            scores = warpers[type(stage)](sampler.value(type(stage)))(torch.tensor([[0]]), scores)
        found[stage.NAME] = scores[0]
    return found


def kept_by(scores: Tensor) -> int:
    return int((scores > -math.inf).sum())


@settings(max_examples=300, deadline=None)
@given(many_logits(), samplers)
def test_selected_tokens_equal_those_of_transformers(logits: Tensor, sampler: Sampler) -> None:
    """In both orders; in a tie across a cut transformers keeps all (or either end), we keep the lowest ids."""
    logits = logits.clamp(min=-1e30)  # a hole would count as cut
    distribution = Distribution(logits)
    order = distribution.head(len(logits))
    kept = {effect.stage.NAME: effect.kept for effect in apply_stages(distribution, sampler).effects()}
    for stage, scores in transformers_stages(logits, sampler).items():
        theirs, ours = kept_by(scores), kept[stage]
        if theirs != ours:
            assume(not near_the_edge(logits, sampler, theirs, ours))
            between = logits[order[min(theirs, ours) - 1 : max(theirs, ours)]]
            assert len(between.unique()) == 1, f"{stage}: {ours} kept, {theirs} by transformers"
            return  # what follows is measured on another set
        assert set(order[:ours].tolist()) == set((scores > -math.inf).nonzero()[:, 0].tolist()) or tied(logits, ours)


def tied(logits: Tensor, count: int) -> bool:
    """Whether the cut after `count` goes through equal logits."""
    ordered = logits.sort(descending=True).values
    return bool(count < len(logits) and ordered[count - 1] == ordered[count])


def near_the_edge(logits: Tensor, sampler: Sampler, theirs: int, ours: int) -> bool:
    """Whether a sum or ratio is so near its bound that float32 and float64 may differ."""
    heat = sampler.value(Temperature) if isinstance(sampler.stages[0], Temperature) else 1.0
    top_k, top_p, min_p = int(sampler.value(TopK)), sampler.value(TopP), sampler.value(MinP)
    shares = torch.softmax(logits.double() / heat, 0).sort(descending=True).values
    if top_k:
        shares = shares[:top_k] / shares[:top_k].sum()
    through = shares.cumsum(0)
    middle = slice(max(0, min(theirs, ours) - 1), max(theirs, ours))
    by_p = (through[middle] - top_p).abs().min().item() < 1e-6
    ratio = (shares[middle] / shares[0] / min_p - 1).abs().min().item() < 1e-5 if min_p else False
    return by_p or ratio


@settings(max_examples=200, deadline=None)
@given(many_logits(), samplers)
def test_sampled_probabilities_equal_those_of_transformers(logits: Tensor, sampler: Sampler) -> None:
    """After the last stage the probabilities equal those of transformers, if both keep the same tokens."""
    last = list(transformers_stages(logits, sampler).values())[-1]
    lens = sampler_lens(Distribution(logits), sampler, 0.5, name)
    assume(kept_by(last) == lens.kept and not tied(logits, lens.kept))
    theirs = torch.softmax(last, 0)
    for row in lens.rows:
        assert row.shares[-1] == pytest.approx(theirs[row.id].item(), abs=1e-6)


@pytest.mark.parametrize(("order", "kept"), [("temperature first", 3), ("temperature last", 2)])
def test_min_p_by_hand(order: str, kept: int) -> None:
    """0.5, 0.3, 0.15, 0.05 and min-p 0.4: 0.3 / 0.5 is above it and 0.15 / 0.5 below; at T = 2 √0.3 = 0.55 is not."""
    distribution = Distribution(torch.tensor([0.5, 0.3, 0.15, 0.05]).log())
    assert len(apply_stages(distribution, Sampler.of(min_p=0.4)).selection) == 2
    found = apply_stages(distribution, Sampler.of(min_p=0.4, temperature=2, order=order))  # type: ignore[arg-type]
    assert len(found.selection) == kept


def test_stages_are_listed_in_the_order_applied() -> None:
    distribution = Distribution(torch.tensor([0.5, 0.3, 0.15, 0.05]).log())
    first = apply_stages(distribution, Sampler.of(temperature=2)).effects()
    last = apply_stages(distribution, Sampler.of(temperature=2, top_k=2, order="temperature last")).effects()
    assert [effect.stage.NAME for effect in first] == ["temp", "top_k", "top_p", "min_p"]
    assert [effect.stage.NAME for effect in last] == ["top_k", "top_p", "min_p", "temp"]
    assert [effect.removed_mass for effect in last] == pytest.approx([0.2, 0, 0, 0], abs=1e-6)
    warm = math.sqrt(0.5) / (math.sqrt(0.5) + math.sqrt(0.3))
    assert [effect.moved for effect in last] == pytest.approx([0.2, 0, 0, 0.625 - warm], abs=1e-6)


def test_temperature_last_does_not_change_the_cuts() -> None:
    distribution = Distribution(torch.randn(1000, generator=torch.Generator().manual_seed(1)))

    def count(**settings: Any) -> int:
        return len(apply_stages(distribution, Sampler.of(**settings)).selection)

    temperatures = (0.1, 0.5, 1, 2, 50)
    assert len({count(top_p=0.8, min_p=0.02, order="temperature last", temperature=t) for t in temperatures}) == 1
    assert len({count(top_p=0.8, temperature=t) for t in (0.5, 1, 2)}) == 3


@settings(max_examples=200, deadline=None)
@given(many_logits(), samplers, us, st.integers(1, 60))
def test_rows_tail_and_cuts_sum_to_the_whole(logits: Tensor, sampler: Sampler, u: float, count: int) -> None:
    """Rows and tail sum to each stage, cuts to what the stages remove; intervals tile [0, 1)."""
    distribution = Distribution(logits)
    lens = sampler_lens(distribution, sampler, u, name, count)
    assert len(lens.rows) == min(count, 50, len(logits))
    assert lens.tail.count == len(logits) - len(lens.rows)
    for at in range(len(lens.stages) + 1):
        assert math.fsum(row.shares[at] for row in lens.rows) + lens.tail.shares[at] == pytest.approx(1, abs=2e-6)
    left = [len(logits), *(effect.kept for effect in lens.stages)]
    assert [effect.removed for effect in lens.stages] == [before - after for before, after in pairwise(left)]
    assert left[-1] == lens.kept
    for row in lens.rows:
        blamed = [number for number, effect in enumerate(lens.stages) if row.rank >= effect.kept]
        assert row.cut_by == (blamed[0] if blamed else None)
        assert all(row.shares[number + 1] == 0 for number in blamed)
        assert row.interval[1] - row.interval[0] == pytest.approx(row.shares[-1], abs=1e-6)
    edges = [0.0, *(row.interval[1] for row in lens.rows if row.cut_by is None)]
    assert [row.interval[0] for row in lens.rows if row.cut_by is None] == edges[:-1]
    assert lens.tail.kept == max(0, lens.kept - len(lens.rows))
    if not lens.tail.kept:
        assert edges[-1] == 1


@settings(max_examples=200, deadline=None)
@given(many_logits(), samplers, us)
def test_the_explained_token_equals_the_drawn_token(logits: Tensor, sampler: Sampler, u: float) -> None:
    """The explained token is the one drawn with that u, at any rank, and its interval contains u."""
    distribution = Distribution(logits)
    lens, drawn = sampler_lens(distribution, sampler, u, name, 3), draw(distribution, sampler, u)
    assert lens.drawn is not None
    assert lens.drawn.id == drawn.id
    assert lens.drawn.share == drawn.sampled_probability
    own = torch.softmax(logits.double(), 0)[drawn.id].item()
    assert lens.drawn.probability == pytest.approx(own, abs=1e-6)
    assert lens.drawn.interval[0] - 1e-6 <= u <= lens.drawn.interval[1] + 1e-6
    order = distribution.head(len(logits)).tolist()
    assert order[lens.drawn.rank] == drawn.id
    if lens.drawn.rank < 3:
        assert lens.drawn.interval == lens.rows[lens.drawn.rank].interval
    assert order[lens.uniform.rank] == lens.uniform.id
    assert lens.uniform.rank == min(int(u * len(logits)), len(logits) - 1)
    assert lens.uniform.share == 1 / len(logits)
    assert lens.uniform.interval[0] - 1e-12 <= u <= lens.uniform.interval[1] + 1e-12
    assert (lens.greedy.id, lens.greedy.rank) == (order[0], 0)
    assert lens.greedy.probability == distribution.probabilities[order[0]].item()


def greedy_lens(order: str) -> SamplerLens:
    distribution = Distribution(torch.tensor([0.1, 0.6, 0.3]).log())
    return sampler_lens(distribution, Sampler.of(temperature=0, top_k=2, order=order), 0.9, name)  # type: ignore[arg-type]


def test_greedy_removes_all_but_the_argmax() -> None:
    first, last = greedy_lens("temperature first"), greedy_lens("temperature last")
    assert [row.cut_by for row in first.rows] == [None, 0, 0]
    assert [row.cut_by for row in last.rows] == [None, 3, 0]
    for lens in (first, last):
        assert lens.drawn == lens.greedy
        assert (lens.drawn.id, lens.drawn.share, lens.drawn.interval) == (1, 1.0, (0.0, 1.0))
        assert [row.shares[-1] for row in lens.rows] == [1, 0, 0]
        assert lens.uniform.rank == 2
    cut, _, _, heat = last.stages
    assert (cut.removed, cut.removed_mass) == (1, pytest.approx(0.1, abs=1e-6))
    assert (heat.removed, heat.removed_mass) == (1, pytest.approx(0.3 / 0.9, abs=1e-6))


def test_each_cut_counts_the_tokens_and_mass_it_removes() -> None:
    """0.4, 0.3, 0.2, 0.1 by hand: k = 3 takes 0.1, then p = 0.75 takes 0.2 of the 0.9 that reach it."""
    distribution = Distribution(torch.tensor([0.4, 0.3, 0.2, 0.1]).log())
    lens = sampler_lens(distribution, Sampler.of(top_k=3, top_p=0.75), 0.5, name)
    assert [row.cut_by for row in lens.rows] == [None, None, 2, 1]
    _, top_k, top_p, _ = lens.stages
    assert (top_k.removed, top_k.removed_mass) == (1, pytest.approx(0.1, abs=1e-6))
    assert top_p.removed_mass == pytest.approx(0.2 / 0.9, abs=1e-6)
    assert lens.rows[1].shares == pytest.approx((0.3, 0.3, 1 / 3, 3 / 7, 3 / 7), abs=1e-6)
    assert lens.rows[1].interval == pytest.approx((4 / 7, 1), abs=1e-6)
    assert lens.drawn is not None
    assert (lens.drawn.id, lens.drawn.piece) == (0, b"0")


@given(st.floats(allow_nan=True))
def test_min_p_outside_0_to_1_is_a_user_error(value: float) -> None:
    if 0 <= value <= 1:
        assert Sampler.of(min_p=value).value(MinP) == value
    else:
        with pytest.raises(UserError, match="min-p"):
            Sampler.of(min_p=value)


def test_an_unknown_order_is_a_user_error() -> None:
    with pytest.raises(UserError, match="temperature first or temperature last"):
        Sampler.of(order="backwards")  # type: ignore[arg-type]


def test_a_chart_under_min_p_and_temperature_last() -> None:
    """The chart's shares are those of the last stage."""
    distribution = Distribution(torch.randn(5000, generator=torch.Generator().manual_seed(2)) * 2)
    sampler = Sampler.of(temperature=1.7, top_k=400, min_p=0.05, order="temperature last")
    lens, shown = sampler_lens(distribution, sampler, 0.3, name), chart(distribution, sampler, 50, name)
    assert shown.stages == lens.stages
    assert [each.sampled_probability for each in shown.candidates] == [row.shares[-1] for row in lens.rows]
