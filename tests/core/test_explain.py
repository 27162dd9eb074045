"""Why a token was drawn: both orders of the stages against transformers, and the explanation against its definition."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from core.errors import UserError
from core.sampling.chart import chart
from core.sampling.distribution import Distribution
from core.sampling.draw import draw
from core.sampling.explain import sampler_lens
from core.sampling.explanation import SamplerLens
from core.sampling.sampler import ORDERS, Sampler
from core.sampling.stages import apply_stages

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
    Sampler,
    temperature=st.sampled_from([0.1, 0.5, 0.7, 1.0, 1.3, 2.0, 10.0]),
    top_k=st.sampled_from([0, 1, 2, 3, 10, 50, 1000]),
    top_p=st.sampled_from([1.0, 0.99, 0.9, 0.5, 0.1, 0.001]),
    min_p=st.sampled_from([0.0, 0.001, 0.05, 0.1, 0.5, 1.0]),
    order=st.sampled_from(ORDERS),
)
us = st.floats(0, 1, exclude_max=True)


def transformers_stages(logits: Tensor, sampler: Sampler) -> dict[str, Tensor]:
    """Logits [V] in float64 after each stage that is on, in the sampler's order, by the warpers of transformers."""
    cuts = [
        ("top-k", sampler.top_k > 0, lambda: TopKLogitsWarper(sampler.top_k)),
        ("top-p", sampler.top_p < 1, lambda: TopPLogitsWarper(sampler.top_p)),
        ("min-p", sampler.min_p > 0, lambda: MinPLogitsWarper(sampler.min_p)),
    ]
    heat = [("temperature", True, lambda: TemperatureLogitsWarper(sampler.temperature))]
    scores, found = logits.double()[None], {}
    for stage, on, make in heat + cuts if sampler.order == "temperature first" else cuts + heat:
        scores = make()(torch.tensor([[0]]), scores) if on else scores
        found[stage] = scores[0]
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
    kept = {stage.name: stage.kept for stage in apply_stages(distribution, sampler).stages}
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
    heat = sampler.temperature if sampler.order == "temperature first" else 1.0
    shares = torch.softmax(logits.double() / heat, 0).sort(descending=True).values
    if sampler.top_k:
        shares = shares[: sampler.top_k] / shares[: sampler.top_k].sum()
    through = shares.cumsum(0)
    middle = slice(max(0, min(theirs, ours) - 1), max(theirs, ours))
    by_p = (through[middle] - sampler.top_p).abs().min().item() < 1e-6
    ratio = (shares[middle] / shares[0] / sampler.min_p - 1).abs().min().item() < 1e-5 if sampler.min_p else False
    return by_p or ratio


@settings(max_examples=200, deadline=None)
@given(many_logits(), samplers)
def test_sampled_probabilities_equal_those_of_transformers(logits: Tensor, sampler: Sampler) -> None:
    """After the last stage the probabilities equal those of transformers, if both keep the same tokens."""
    last = list(transformers_stages(logits, sampler).values())[-1]
    lens = sampler_lens(Distribution(logits), sampler, 0.5, name)
    assume(kept_by(last) == lens.stages[-1].kept and not tied(logits, lens.stages[-1].kept))
    theirs = torch.softmax(last, 0)
    for row in lens.rows:
        assert row.shares[-1] == pytest.approx(theirs[row.id].item(), abs=1e-6)


@pytest.mark.parametrize(("order", "kept"), [("temperature first", 3), ("temperature last", 2)])
def test_min_p_by_hand(order: str, kept: int) -> None:
    """0.5, 0.3, 0.15, 0.05 and min-p 0.4: 0.3 / 0.5 is above it and 0.15 / 0.5 below; at T = 2 √0.3 = 0.55 is not."""
    distribution = Distribution(torch.tensor([0.5, 0.3, 0.15, 0.05]).log())
    assert apply_stages(distribution, Sampler(min_p=0.4)).count == 2
    found = apply_stages(distribution, Sampler(min_p=0.4, temperature=2, order=order))  # type: ignore[arg-type]
    assert found.count == kept


def test_stages_are_listed_in_the_order_applied() -> None:
    distribution = Distribution(torch.tensor([0.5, 0.3, 0.15, 0.05]).log())
    first = apply_stages(distribution, Sampler(temperature=2)).stages
    last = apply_stages(distribution, Sampler(temperature=2, top_k=2, order="temperature last")).stages
    assert [stage.name for stage in first] == ["raw", "temperature", "top-k", "top-p", "min-p", "renormalised"]
    assert [stage.name for stage in last] == ["raw", "top-k", "top-p", "min-p", "temperature", "renormalised"]
    roots = [math.sqrt(p) for p in (0.5, 0.3, 0.15, 0.05)]
    tempered = (roots[0] + roots[1]) / sum(roots)
    assert [stage.mass for stage in last] == pytest.approx([1, 0.8, 0.8, 0.8, tempered, 1], abs=1e-6)


def test_temperature_last_does_not_change_the_cuts() -> None:
    distribution = Distribution(torch.randn(1000, generator=torch.Generator().manual_seed(1)))
    sampler = Sampler(top_p=0.8, min_p=0.02, order="temperature last")
    counts = {apply_stages(distribution, replace(sampler, temperature=t)).count for t in (0.1, 0.5, 1, 2, 50)}
    assert len(counts) == 1
    assert len({apply_stages(distribution, Sampler(top_p=0.8, temperature=t)).count for t in (0.5, 1, 2)}) == 3


@settings(max_examples=200, deadline=None)
@given(many_logits(), samplers, us, st.integers(1, 60))
def test_rows_tail_and_cuts_sum_to_the_whole(logits: Tensor, sampler: Sampler, u: float, count: int) -> None:
    """Rows and tail sum to each stage, cuts to what the stages remove; intervals tile [0, 1)."""
    distribution = Distribution(logits)
    lens = sampler_lens(distribution, sampler, u, name, count)
    assert len(lens.rows) == min(count, 50, len(logits))
    assert lens.tail.count == len(logits) - len(lens.rows)
    for at, stage in enumerate(lens.stages):
        total = math.fsum(row.shares[at] for row in lens.rows) + lens.tail.shares[at]
        assert total == pytest.approx(stage.mass, abs=1e-6)
        kept = min(stage.kept, len(lens.rows))
        assert all(row.shares[at] == 0 for row in lens.rows[kept:])
    assert [cut.count for cut in lens.cuts] == [
        before.kept - after.kept for before, after in zip(lens.stages[:-2], lens.stages[1:-1], strict=True)
    ]
    assert sum(cut.count for cut in lens.cuts) == len(logits) - lens.stages[-1].kept
    for row in lens.rows:
        blamed = [stage.name for stage in lens.stages if row.rank >= stage.kept]
        assert row.cut_by == (blamed[0] if blamed else None)
        assert row.interval[1] - row.interval[0] == pytest.approx(row.shares[-1], abs=1e-6)
        if row.shares[-1] == 0:
            assert row.interval[1] == row.interval[0]
    edges = [0.0, *(row.interval[1] for row in lens.rows)]
    assert [row.interval[0] for row in lens.rows] == edges[:-1]
    assert lens.tail.interval[1] == 1
    assert lens.tail.kept == max(0, lens.stages[-1].kept - len(lens.rows))
    if lens.tail.kept:
        assert lens.tail.interval[0] == edges[-1]
    else:
        assert edges[-1] == 1
        assert lens.tail.interval == (1, 1)


@settings(max_examples=200, deadline=None)
@given(many_logits(), samplers, us)
def test_the_explained_token_equals_the_drawn_token(logits: Tensor, sampler: Sampler, u: float) -> None:
    """The explained token is the one drawn with that u, at any rank, and its interval contains u."""
    distribution = Distribution(logits)
    lens, drawn = sampler_lens(distribution, sampler, u, name, 3), draw(distribution, sampler, u)
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


@settings(max_examples=150, deadline=None)
@given(many_logits(), samplers, us)
def test_the_other_order_equals_a_sampler_with_that_order(logits: Tensor, sampler: Sampler, u: float) -> None:
    distribution = Distribution(logits)
    here = sampler_lens(distribution, sampler, u, name)
    there = sampler_lens(distribution, replace(sampler, order=here.other.order), u, name)
    assert here.other.order != sampler.order
    assert here.other.stages == there.stages
    kept_here = {row.id for row in here.rows if row.shares[-1] > 0 or row.cut_by is None}
    kept_there = {row.id for row in there.rows if row.shares[-1] > 0 or row.cut_by is None}
    assert set(here.other.only_here) == kept_here - kept_there
    assert set(here.other.only_there) == kept_there - kept_here
    if sampler.temperature == 1:
        assert here.stages[-1] == there.stages[-1]


def greedy_lens(order: str) -> SamplerLens:
    distribution = Distribution(torch.tensor([0.1, 0.6, 0.3]).log())
    return sampler_lens(distribution, Sampler(temperature=0, top_k=2, order=order), 0.9, name)  # type: ignore[arg-type]


def test_greedy_removes_all_but_the_argmax() -> None:
    first, last = greedy_lens("temperature first"), greedy_lens("temperature last")
    assert [row.cut_by for row in first.rows] == [None, "temperature", "temperature"]
    assert [row.cut_by for row in last.rows] == [None, "temperature", "top-k"]
    for lens in (first, last):
        assert lens.drawn == lens.greedy
        assert (lens.drawn.id, lens.drawn.share, lens.drawn.interval) == (1, 1.0, (0.0, 1.0))
        assert [row.shares[-1] for row in lens.rows] == [1, 0, 0]
        assert lens.uniform.rank == 2
    cut = {cut.name: cut for cut in last.cuts}
    assert cut["top-k"].mass == pytest.approx(0.1, abs=1e-6)
    assert (cut["temperature"].count, cut["temperature"].mass) == (1, pytest.approx(0.3, abs=1e-6))
    assert cut["temperature"].share == pytest.approx(0.3 / 0.9, abs=1e-6)


def test_each_cut_counts_the_tokens_and_mass_it_removes() -> None:
    """0.4, 0.3, 0.2, 0.1 by hand: k = 3 takes 0.1, then p = 0.75 of 0.9 takes 0.2 of what is left."""
    distribution = Distribution(torch.tensor([0.4, 0.3, 0.2, 0.1]).log())
    lens = sampler_lens(distribution, Sampler(top_k=3, top_p=0.75), 0.5, name)
    assert [row.cut_by for row in lens.rows] == [None, None, "top-p", "top-k"]
    cuts = {cut.name: cut for cut in lens.cuts}
    assert (cuts["top-k"].count, cuts["top-k"].mass) == (1, pytest.approx(0.1, abs=1e-6))
    assert (cuts["top-p"].mass, cuts["top-p"].share) == pytest.approx((0.2, 0.2 / 0.9), abs=1e-6)
    assert lens.rows[1].shares == pytest.approx((0.3, 0.3, 0.3, 0.3, 0.3, 3 / 7), abs=1e-6)
    assert lens.rows[1].interval == pytest.approx((4 / 7, 1), abs=1e-6)
    assert (lens.drawn.id, lens.drawn.piece) == (0, b"0")


@given(st.floats(allow_nan=True))
def test_min_p_outside_0_to_1_is_a_user_error(value: float) -> None:
    if 0 <= value <= 1:
        assert Sampler(min_p=value).min_p == value
    else:
        with pytest.raises(UserError, match="min-p"):
            Sampler(min_p=value)


def test_an_unknown_order_is_a_user_error() -> None:
    with pytest.raises(UserError, match="temperature first or temperature last"):
        Sampler(order="backwards")  # type: ignore[arg-type]


def test_a_chart_under_min_p_and_temperature_last() -> None:
    """The chart's shares are those of the last stage."""
    distribution = Distribution(torch.randn(5000, generator=torch.Generator().manual_seed(2)) * 2)
    sampler = Sampler(temperature=1.7, top_k=400, min_p=0.05, order="temperature last")
    lens, shown = sampler_lens(distribution, sampler, 0.3, name), chart(distribution, sampler, 50, name)
    assert shown.stages == lens.stages
    assert [each.sampled_probability for each in shown.candidates] == [row.shares[-1] for row in lens.rows]
