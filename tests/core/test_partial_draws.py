"""Draws from a distribution of which only the likeliest tokens are known, against those of the whole one.

Whenever the partial one answers, it gives the token of the whole one with the same number u, for every stage; its
probabilities are within the bounds; and with enough tokens known it answers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from stage_cases import SIZE, TEXTS, context, normal
from torch import Tensor
from truncated import truncated

from core.errors import UserError
from core.sampling import stages as kinds
from core.sampling.apply import apply_stages
from core.sampling.bounds import high, low
from core.sampling.context import DrawContext
from core.sampling.distribution import Distribution
from core.sampling.draw import draw
from core.sampling.next_distribution import NeedsMore
from core.sampling.partial import PartialDistribution
from core.sampling.sampler import Sampler
from core.sampling.selection import Selection
from core.sampling.stages.stage import MaskStage, knob

CLOSE = 2e-5
STAGES = {
    "bias": ("bias=13+2.53;7-1.07;40+0.47", "bias='ef'-3.03;9-0.93"),
    "ban": ("ban=13;7;2;40", "ban='fg';'efg'"),
    "presence": ("presence=0.71", "presence=-0.93"),
    "frequency": ("frequency=0.31", "frequency=-0.23:16"),
    "no_repeat": ("no_repeat=1", "no_repeat=2"),
    "dry": ("dry=0.83", "dry=2.17:1.31:1"),
    "top_k": ("top_k=1", "top_k=3", "top_k=11", "top_k=70"),
    "top_p": ("top_p=0.317", "top_p=0.803", "top_p=0.967"),
    "min_p": ("min_p=0.0113", "min_p=0.113", "min_p=0.53"),
    "typical": ("typical=0.217", "typical=0.713", "typical=0.951"),
    "epsilon": ("epsilon=0.00113", "epsilon=0.0317", "epsilon=0.31"),
    "eta": ("eta=0.00113", "eta=0.0317", "eta=0.31"),
    "xtc": ("xtc=1:0.0513", "xtc=1:0.117", "xtc=0.9:0.213"),
    "dynatemp": ("dynatemp=0.5",),
    "mirostat": ("mirostat=3.1", "mirostat=1.07"),
    "temp": ("temp=0", "temp=0.31", "temp=0.83", "temp=1.37", "temp=6"),
    "top_n_sigma": ("top_n_sigma=1",),
    "watermark": ("watermark=2.03", "watermark=-3.07", "watermark=1.53:0.3:selfhash:2"),
    "contrast": ("contrast=0.53:0.113",),
    "cfg": ("cfg=1.53",),
}
"""Each stage, with numbers that no share of a table hits exactly."""
FORMS = {"choice", "grammar", "json", "regex"}
"""Masks of what can follow; tried below as one."""
LOGITS_ONLY = {"penalty"}


NEED_ALL = ("dynatemp", "top_n_sigma", "cfg")
"""Stages that depend on every probability."""


def guide(kind: str, name: str) -> np.ndarray:
    return normal(77, 1.5).numpy()


def where(ids: list[int], **more: Any) -> DrawContext:
    return context(ids, chance=0.3, guide=guide, surprisals=(2.0, 5.0), **more)


@st.composite
def logits(draw_: Callable[..., Any]) -> Tensor:
    """Of 120 tokens: smooth ones, ones in steps (ties, as bf16 gives), peaked and flat ones."""
    scale, step = draw_(st.sampled_from([0.2, 1.0, 2.5, 6.0])), draw_(st.sampled_from([0.0, 0.0, 0.25, 1.0]))
    found = normal(draw_(st.integers(0, 10**6)), scale, draw_(st.sampled_from([-30.0, 0.0, 8.0])))
    return (found / step).round() * step if step else found


@st.composite
def samplers(draw_: Callable[..., Any], most: int = 3) -> Sampler:
    names = draw_(st.lists(st.sampled_from(sorted(STAGES)), unique=True, max_size=most))
    return Sampler.read(",".join(draw_(st.sampled_from(STAGES[name])) for name in names))


def near_an_edge(selection: Any, u: float) -> bool:
    """Whether rounding may decide the draw: u lies on the edge of a token's interval."""
    shares = selection.probabilities[selection.ranking.first(len(selection))].astype(np.float64)
    return bool(np.abs(np.cumsum(shares) - u).min() < CLOSE)


def check(scores: Tensor, known: int, sampler: Sampler, u: float, ids: list[int]) -> bool | None:
    """Hold a partial draw to the whole one; whether it answered, and None where there is nothing to compare."""
    at = where(ids)
    applied = apply_stages(Distribution(scores), sampler, at)
    if applied.error or near_an_edge(applied.selection, u):
        return None
    selection: Any = applied.selection
    wanted = selection.token_at(u).at
    try:
        found = draw(truncated(scores, known, seed=known), sampler, u, at)
    except NeedsMore as more:
        assert known < more.count <= len(scores)
        return False
    assert found.id == wanted
    share = selection.probability(wanted)
    assert low(found.sampled_probability) - CLOSE <= share <= high(found.sampled_probability) + CLOSE
    return True


@given(logits(), st.integers(1, SIZE - 1), samplers(), st.floats(0, 1, exclude_max=True), st.sampled_from([*TEXTS]))
@settings(max_examples=600, deadline=None)
def test_a_partial_draw_that_answers_is_that_of_the_whole(
    scores: Tensor, known: int, sampler: Sampler, u: float, text: str
) -> None:
    assume(check(scores, known, sampler, u, TEXTS[text]) is not None)


@pytest.mark.parametrize("stage", [each for every in STAGES.values() for each in every])
def test_each_stage_is_held_to_the_whole(stage: str) -> None:
    """Each stage alone and after a temperature, over many distributions, numbers of known tokens and u."""
    random = np.random.default_rng(len(stage))
    answers = []
    for n in range(60):
        scores = normal(n, (0.5, 2.0, 5.0)[n % 3])
        scores = scores if n % 4 else scores.mul(4).round().div(4)
        line = stage if n % 2 or stage.startswith("temp") else f"temp=1.3,{stage}"
        known = int(random.integers(1, 100))
        answers.append(check(scores, known, Sampler.read(line), random.random(), TEXTS["long"]))
    assert answers.count(True) > 0 or (stage.startswith(NEED_ALL) and answers.count(False) > 30)


def test_every_stage_is_tried_or_named() -> None:
    assert STAGES.keys() | FORMS | LOGITS_ONLY == kinds.found().keys()


# The rules one by one -------------------------------------------------------------------------------------------------


def test_a_neutral_draw_is_exact_while_u_falls_in_the_known_mass() -> None:
    """Of 30 tokens without a tie at the end, every u below their mass is answered and none above it."""
    scores = normal(3, 2.0)
    whole, partial = Distribution(scores), truncated(scores, 30)
    mass = 1 - partial.rest
    for u in np.linspace(0, 1, 200, endpoint=False):
        if u < mass - CLOSE:
            assert draw(partial, Sampler(), u).id == draw(whole, Sampler(), u).id
            assert draw(partial, Sampler(), u).sampled_probability == pytest.approx(
                draw(whole, Sampler(), u).sampled_probability, abs=1e-6
            )
        elif u > mass + CLOSE:
            with pytest.raises(NeedsMore) as error:
                draw(partial, Sampler(), u)
            assert error.value.count == 60


@pytest.mark.parametrize("line", ["top_k=30", "top_k=5,temp=0.4", "min_p=0.02", "temp=0.8,top_k=20,min_p=0.05"])
def test_a_cut_among_the_known_tokens_is_exact_for_every_u(line: str) -> None:
    scores = normal(3, 2.0)
    after = apply_stages(truncated(scores, 40), Sampler.read(line)).checked()
    whole = apply_stages(Distribution(scores), Sampler.read(line)).checked()
    assert isinstance(after, Selection)
    assert after.ids.tolist() == whole.ids.tolist()
    assert np.abs(after.probabilities - whole.probabilities).max() < 1e-6


def test_a_nucleus_that_closes_among_the_known_tokens_is_exact() -> None:
    scores = normal(3, 2.0)
    partial = truncated(scores, 40)
    inside, outside = (Sampler.read(f"top_p={1 - partial.rest + by:.6f}") for by in (-0.01, 0.01))
    assert isinstance(apply_stages(partial, inside).checked(), Selection)
    left = apply_stages(partial, outside).checked()
    assert not isinstance(left, Selection)
    assert 39 <= low(left.count) <= 40 < high(left.count)  # the last known one may be as likely as an unknown one


def test_equally_likely_tokens_at_the_end_have_no_certain_place() -> None:
    """Of four tokens of one probability the engine tells two, which need not be those with the lowest ids."""
    scores = torch.tensor([1.0, 1.0, 3.0, 1.0, 1.0])
    for seed in range(6):
        partial = truncated(scores, 3, seed)
        assert draw(partial, Sampler(), 0.3).id == 2
        with pytest.raises(NeedsMore):
            draw(partial, Sampler(), 0.7)


def test_the_temperature_is_bounded_by_the_two_extreme_completions() -> None:
    """W = Σ p^(1/T): the rest 0.2 over 100 tokens of at most 0.01 each, as 20 tokens of 0.01 or 100 of 0.002."""
    partial = PartialDistribution(range(2), np.log([0.79, 0.01]).tolist(), 102)
    for heat in (0.5, 2.0):
        after = apply_stages(partial, Sampler.read(f"temp={heat}")).checked()
        own = 0.79 ** (1 / heat) + 0.01 ** (1 / heat)
        ends = sorted((own + 20 * 0.01 ** (1 / heat), own + 100 * 0.002 ** (1 / heat)))
        share = after.probability(0)
        assert low(share) == pytest.approx(0.79 ** (1 / heat) / ends[1], rel=1e-3)
        assert high(share) == pytest.approx(0.79 ** (1 / heat) / ends[0], rel=1e-3)


def test_a_stage_that_needs_all_tokens_says_so_by_name() -> None:
    partial = truncated(normal(3, 2.0), 40)
    for stage in NEED_ALL:
        applied = apply_stages(partial, Sampler.read(stage))
        assert isinstance(applied.error, NeedsMore)
        assert applied.error.count == SIZE
        title = kinds.found()[stage].TITLE
        assert applied.problem.startswith(f"{title}: it needs the probabilities of all 120 tokens, but 40 are known")


def test_a_repetition_penalty_is_refused_without_logits() -> None:
    """It depends on where 0 lies, also where the log-probabilities of all tokens are known."""
    for known in (40, SIZE):
        with pytest.raises(UserError, match="needs logits"):
            draw(truncated(normal(3), known), Sampler.read("penalty=1.1"), 0.1, where([1]))


def test_mirostat_asks_for_more_where_the_drawn_probability_is_bounds() -> None:
    """The surprisal that it adds up would not be that of the whole distribution."""
    partial = truncated(normal(3, 2.0), 40)
    with pytest.raises(NeedsMore, match="mirostat"):
        draw(partial, Sampler.read("mirostat=9,temp=1.5"), 0.01)
    assert draw(partial, Sampler.read("top_k=30,mirostat=9,temp=1.5"), 0.01)


@dataclass(frozen=True, kw_only=True, slots=True)
class Even(MaskStage):
    """Every second id."""

    TITLE: ClassVar[str] = "even"
    every: int = knob(0, 2)

    def allowed(self, context: DrawContext) -> Any:
        return np.arange(SIZE) % self.every == 0


@given(logits(), st.integers(1, SIZE - 1), st.sampled_from([2, 3, 40]), st.floats(0, 1, exclude_max=True), samplers(2))
@settings(max_examples=150, deadline=None)
def test_a_mask_is_held_to_the_whole(scores: Tensor, known: int, every: int, u: float, others: Sampler) -> None:
    """What a grammar allows, first and last."""
    mask = Even(every=every)
    for stages in ((mask, *others.stages), (*others.stages, mask)):
        assume(check(scores, known, Sampler(stages=stages), u, TEXTS["plain"]) is not None)


def test_a_mask_that_allows_known_tokens_alone_is_exact() -> None:
    scores = torch.arange(SIZE, 0, -1).float() / 9  # ids in the order of the model
    after = apply_stages(truncated(scores, 50), Sampler(stages=(Even(every=40),))).checked()
    assert isinstance(after, Selection) is False  # 80 is allowed, and not known
    after = apply_stages(truncated(scores, 90), Sampler(stages=(Even(every=40),))).checked()
    assert isinstance(after, Selection)
    assert after.ids.tolist() == [0, 40, 80]


def test_a_draw_at_an_edge_is_decided_only_where_the_rounding_of_the_engine_does_not_matter() -> None:
    shares = [0.5, 0.3, 0.1]
    told = PartialDistribution(range(3), np.log(shares).tolist(), 10, error=1e-3)
    assert draw(told, Sampler(), 0.4).id == 0
    assert draw(told, Sampler(), 0.501).id == 1
    with pytest.raises(NeedsMore, match="the border of two tokens"):
        draw(told, Sampler(), 0.4999)
    assert draw(told, Sampler.read("top_k=2", seed=0), 0.4999).id == 0
