"""The other side of a comparison follows the walk: it gives what its model computes at the same position."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from core.errors import UserError
from core.evaluation.compare import Side, compare
from core.loading import models
from core.loading.choice import ModelChoice
from core.loading.model import Model
from core.loading.tokenizers import load_tokenizer
from core.progress import Progress
from core.sampling.distribution import Distribution
from core.sampling.sampler import Sampler
from core.walk.session import Session
from core.walk.side_by_side import SideBySide
from core.walk.values import OtherSide

BYTES = ModelChoice(name="model3", tokenizer="bytes", device="cpu")
PROMPT = "I prefer oat milk in my coffee"


def faced(opposite: SideBySide, walk: Session, choice: ModelChoice, prompt: str | None = None) -> OtherSide:
    *readings, answer = opposite.face(walk, choice, Sampler(), prompt)
    assert all(isinstance(reading, Progress) for reading in readings)
    assert isinstance(answer, OtherSide)
    return answer


def walking(choice: ModelChoice = BYTES, text: str = PROMPT) -> Session:
    model = models.load_model(choice)
    walk = Session(model)
    list(walk.prefill(model.tokenizer.encode(text)))
    return walk


@pytest.mark.parametrize("cursor", [1, 7, 30])
def test_the_same_model_has_divergence_0(cursor: int) -> None:
    """Identical sides: divergences 0, one argmax, and no second copy of the weights."""
    walk = walking()
    walk.travel(cursor)
    opposite = SideBySide()
    answer = faced(opposite, walk, BYTES)
    assert answer.cursor == cursor
    assert answer.comparison.divergence.kl_ab_bits == pytest.approx(0, abs=1e-9)
    assert answer.comparison.divergence.js_bits == pytest.approx(0, abs=1e-9)
    assert (answer.comparison.agree, answer.comparison.rank_in_a, answer.comparison.rank_in_b) == (True, 0, 0)
    assert opposite._session is not None
    assert opposite._session.model is walk.model


def test_another_model_computes_what_it_computes_alone(after: Callable[..., torch.Tensor]) -> None:
    """While the walk travels and grows, the numbers equal those of two whole-window forwards."""
    walk, opposite = walking(), SideBySide()
    choice = replace(BYTES, name="model5", weights_seed=3)
    other = models.load_model(choice)
    for move in (lambda: walk.travel(5), lambda: walk.travel(30), walk.step, walk.step, lambda: walk.travel(12)):
        move()
        answer = faced(opposite, walk, choice)
        ids = [token.id for token in walk.tokens][: walk.cursor]
        sides = [Side(Distribution(after(model.transformer, ids)), model.tokenizer) for model in (walk.model, other)]
        want = compare(*sides)
        assert answer.comparison.divergence.kl_ab_bits == pytest.approx(want.divergence.kl_ab_bits, abs=1e-4)
        assert answer.comparison.chart_b.candidates[0].id == want.chart_b.candidates[0].id
        assert answer.cursor == walk.cursor


def test_another_tokenizer_stands_at_the_last_shared_boundary() -> None:
    """If the walk stands inside a token of the other tokenizer, the other side stands before that token."""
    walk, opposite = walking(), SideBySide()
    tokenizer = load_tokenizer("cl100k")
    ids = tokenizer.encode(PROMPT)
    ends = [sum(len(tokenizer.piece(id)) for id in ids[: n + 1]) for n in range(len(ids))]
    for cursor in (8, 9, 11, 12, 30):
        walk.travel(cursor)
        answer = faced(opposite, walk, ModelChoice(name="model1", device="cpu"))
        assert answer.comparison.divergence.over == "byte"
        assert answer.cursor == max(1, sum(end <= cursor for end in ends))


def test_the_other_side_can_have_its_own_prompt() -> None:
    """The other side can read another text, and return to that of the walk."""
    walk, opposite = walking(), SideBySide()
    own = faced(opposite, walk, BYTES, "something else")
    assert b"".join(own.pieces) == b"ing else"
    assert own.comparison.divergence.kl_ab_bits > 0
    back = faced(opposite, walk, BYTES)
    assert back.comparison.divergence.kl_ab_bits == pytest.approx(0, abs=1e-9)


def test_after_a_model_that_cannot_be_loaded_another_can_be_asked() -> None:
    """The error is one line; the next request with an existing model is answered."""
    walk, opposite = walking(), SideBySide()
    faced(opposite, walk, BYTES)
    with pytest.raises(UserError) as error:
        faced(opposite, walk, replace(BYTES, name="./nowhere.gguf"))
    assert len(str(error.value).splitlines()) == 1
    assert faced(opposite, walk, BYTES).comparison.agree


def test_only_new_tokens_are_read(small: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """Stepping costs the other side one token too."""
    walk, opposite = walking(text="oat"), SideBySide()
    faced(opposite, walk, BYTES)
    assert opposite._session is not None
    counts: list[int] = []
    transformer = opposite._session.model.transformer
    hidden = transformer.hidden
    walk.step()
    walk.distribution()
    monkeypatch.setattr(transformer, "hidden", lambda ids, *rest: (counts.append(ids.shape[1]), hidden(ids, *rest))[1])
    faced(opposite, walk, BYTES)
    assert sum(counts) == 1


TEXT_STAGES = "penalty=1.3:64,dry=0.8:1.75:2,regex=' [a-z]+ [a-z]+',xtc=0.5:0.01,temp=0.9"
"""Stages that need the text, the prompt's length, the tokenizer and the second number of the draw."""


def with_stages(choice: ModelChoice, sampler: Sampler, count: int) -> Session:
    walk = walking(choice)
    walk.sampler = sampler
    for _ in range(count):
        walk.step()
    return walk


@pytest.mark.parametrize("back", [0, 1, 3])
def test_stages_that_need_the_text_act_on_both_sides_as_in_the_walk(back: int) -> None:
    """The same model and sampler: both charts are that of the walk, also at a token that was drawn again."""
    walk = with_stages(BYTES, Sampler.read(TEXT_STAGES, seed=4), 6)
    walk.redraw()
    walk.travel(walk.cursor - back)
    *_, answer = SideBySide().face(walk, BYTES, walk.sampler)
    assert isinstance(answer, OtherSide)
    want = walk.chart(9)
    for seen in (answer.comparison.chart_a, answer.comparison.chart_b):
        assert (seen.problem, seen.kept) == ("", want.kept)
        assert seen.stages == want.stages
        shares = {each.id: each.sampled_probability for each in seen.candidates}
        assert [shares[each.id] for each in want.candidates] == [each.sampled_probability for each in want.candidates]


def test_another_tokenizer_has_its_own_prompt_before_the_constraint() -> None:
    """B draws from the tokens with which its text after the prompt still matches, as in a walk of its own."""
    sampler = Sampler.read("regex='[0-9]+ [a-z]+'")
    walk, other = walking(), ModelChoice(name="model1", device="cpu")
    for id in walk.model.tokenizer.encode("12"):
        walk.take(id)
    *_, answer = SideBySide().face(walk, other, sampler)
    assert isinstance(answer, OtherSide)
    alone = walking(other)
    alone.sampler = sampler
    for id in alone.model.tokenizer.encode("12"):
        alone.take(id)
    assert answer.comparison.chart_b.problem == alone.chart().problem == ""
    assert answer.comparison.chart_b.kept == alone.chart().kept > 0
