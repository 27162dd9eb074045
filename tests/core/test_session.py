"""A walk: its prompt, its steps, and snapshots of it."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from walks import LONG, NAMES, PROMPT, After, Small, assert_as_fresh, ids, seen, started

from core.engine import prefix
from core.errors import UserError
from core.loading.model import Model
from core.sampling.distribution import Distribution
from core.sampling.draw import draw, uniform
from core.sampling.sampler import Sampler
from core.tokenizers.tokenizer import END_OF_TEXT
from core.walk import session
from core.walk.session import Session


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, small: Small) -> Model:
    return small(request.param)


# The prompt -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [PROMPT, LONG, [0], [256, 256]], ids=["short", "long", "one", "special"])
def test_a_prompt_is_read(model: Model, text: list[int], after: After) -> None:
    """After prefill the cursor is at the end, every token is the prompt's, and the logits are the oracle's."""
    walk = started(model, text)
    assert ids(walk) == text
    assert [(t.origin, t.piece, t.u) for t in walk.tokens] == [("prompt", model.tokenizer.piece(i), None) for i in text]
    assert walk.prompt_length == walk.cursor == len(text)
    assert_as_fresh(walk, after)


def test_an_empty_prompt_starts_from_the_end_of_text(model: Model, after: After) -> None:
    """Something must be read before anything can come next: `<|endoftext|>`, as GPT-2 was trained to start."""
    walk = started(model, [])
    assert ids(walk) == [model.tokenizer.end_of_text]
    assert walk.tokens[0].piece == END_OF_TEXT.encode()
    assert_as_fresh(walk, after)
    assert started(model, []).step() == walk.step()


@pytest.mark.parametrize("bad", [[257], [-1], [1, 2, 10**12], [*LONG, 257]])
def test_an_id_outside_the_vocabulary_changes_nothing(small: Small, bad: list[int], after: After) -> None:
    """The error is one line, and the walk is unchanged."""
    walk = started(small(), PROMPT)
    list(walk.generate(4))
    before = walk.snapshot()
    with pytest.raises(UserError) as error:
        list(walk.prefill(bad))
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(UserError):
        walk.take(bad[-1])
    assert walk.snapshot() == before
    assert_as_fresh(walk, after)


@pytest.mark.parametrize(
    "edited",
    [
        b"oat",
        b"oat milk",
        b"oa",
        b"o",
        b"Oat",
        b"oaX",
        b"oat milk in my tea",
        b"I prefer oat milk in my tea",
        b"I",
        b"",
    ],
)
@pytest.mark.parametrize("first", [b"oat", b"I prefer oat milk in my coffee"])
def test_an_edited_prompt_equals_a_fresh_one(small: Small, first: bytes, edited: bytes, after: After) -> None:
    """Longer, shorter, changed at the start, in the middle, below and beyond the context; also after a walk."""
    for name in NAMES:
        for steps in (0, 9):
            walk, fresh = started(small(name), list(first)), started(small(name), list(edited))
            list(walk.generate(steps))
            list(walk.prefill(list(edited)))
            assert ids(walk) == ids(fresh)
            assert walk.cursor == walk.prompt_length == fresh.cursor
            assert all(token.origin == "prompt" for token in walk.tokens)
            assert (seen(walk) - seen(fresh)).abs().max() < 1e-5
            assert_as_fresh(walk, after)
            assert not walk.snapshot().can_take_back
            for _ in range(9):
                assert walk.step().id == fresh.step().id


def test_an_edit_reads_only_what_changed(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """The common prefix of ids keeps its cache: one more character costs one token."""
    model = small("model5")
    walk = started(model, list(b"oatX"))
    counts: list[int] = []
    hidden = model.transformer.hidden

    def watched(window: Tensor, *rest: Any) -> Tensor:
        counts.append(window.shape[1])
        return hidden(window, *rest)

    monkeypatch.setattr(model.transformer, "hidden", watched)
    list(walk.prefill(list(b"oatYZ")))
    assert counts == [2]
    list(walk.prefill(list(b"oatYZ")))
    list(walk.prefill(list(b"oat")))
    assert counts == [2]


def test_typing_what_was_sampled_makes_it_a_prompt(small: Small) -> None:
    """Typing what the model had sampled makes it a prompt like any other: same scores, no u, no redraws."""
    walk = started(small())
    walk.step()
    walk.redraw()
    walk.take(ord("x"))
    whole = ids(walk)
    walk.prefill(whole)
    fresh = started(small(), whole)
    for each in (walk, fresh):
        list(each.score())
    assert [dataclasses.replace(token, score=None) for token in walk.tokens] == [
        dataclasses.replace(token, score=None) for token in fresh.tokens
    ]
    for token, twin in zip(walk.tokens[1:], fresh.tokens[1:], strict=True):
        assert token.score is not None
        assert twin.score is not None
        assert token.score.logprob == pytest.approx(twin.score.logprob, abs=1e-5)


@pytest.mark.parametrize("length", [1, 5, 6, 7, 30])
def test_progress_rises_to_its_total(model: Model, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading begins at 0 and ends with everything done, for prompts below, at and beyond the context."""
    monkeypatch.setattr(prefix, "CHUNK", 2)
    readings = list(Session(model).prefill(LONG[:length]))
    assert readings[0].done == 0
    assert [reading.done for reading in readings] == sorted({reading.done for reading in readings})
    assert len({reading.total for reading in readings}) == 1
    assert readings[-1].done == readings[-1].total


def test_a_prompt_may_be_replaced_while_it_is_read(small: Small, after: After, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted reading of a prompt leaves no trace in the next one."""
    monkeypatch.setattr(prefix, "CHUNK", 1)
    for name in NAMES:
        walk = Session(small(name))
        reading = walk.prefill(list(b"oats!"))
        next(reading)
        next(reading)
        assert ids(walk) == list(b"oats!")
        list(walk.prefill(list(b"oak")))
        assert_as_fresh(walk, after)
        walk.prefill(list(b"oak tree"))  # not read at all: what is asked for is read then
        assert_as_fresh(walk, after)


# Steps ----------------------------------------------------------------------------------------------------------------

SAMPLERS = [Sampler(seed=3), Sampler.of(temperature=0.7, top_k=20, top_p=0.9, seed=4), Sampler.of(temperature=0.0)]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_every_step_is_a_draw_from_the_oracles_distribution(model: Model, sampler: Sampler, after: After) -> None:
    """20 steps through the window: each token is what u draws from the whole-window logits."""
    walk = started(model, PROMPT, sampler)
    for _ in range(20):
        before = ids(walk)
        token = walk.step()
        want = draw(Distribution(after(model.transformer, before)), sampler, uniform(sampler.seed, len(before)))
        assert token.id == want.id
        assert (token.origin, token.u, token.redraw) == ("sampled", want.u, 0)
        assert token.piece == model.tokenizer.piece(want.id)
        assert token.sampled_probability == pytest.approx(want.sampled_probability, abs=1e-5)
        assert ids(walk) == [*before, token.id]
        assert walk.cursor == len(before) + 1
        assert_as_fresh(walk, after)


def test_the_same_seed_is_the_same_walk(model: Model) -> None:
    """Only seed and position decide a draw; another seed gives another walk."""
    one, other = started(model, PROMPT, Sampler(seed=7)), started(model, PROMPT, Sampler(seed=7))
    first = list(one.generate(20))
    for _ in range(5):
        other.step()
        other.redraw()
    for _ in range(10):
        other.take_back()
    assert other.cursor == len(PROMPT)
    torch.manual_seed(123)
    assert list(other.generate(20)) == first
    assert list(started(model, PROMPT, Sampler(seed=8)).generate(20)) != first


def test_generate_yields_one_token_at_a_time(small: Small) -> None:
    """`generate` can be interrupted at any token, and the walk continues from there."""
    walk, whole = started(small()), started(small())
    first = []
    for token in walk.generate(30):
        first.append(token)
        if len(first) == 4:
            break
    assert len(walk.tokens) == len(PROMPT) + 4
    assert first + list(walk.generate(26)) == list(whole.generate(30))


def test_a_chosen_token_is_taken(model: Model, after: After) -> None:
    """A candidate of the chart, likely or not, becomes the next token with its score."""
    walk = started(model)
    for rank in (0, 40, 7):
        candidate = walk.chart().candidates[rank]
        token = walk.take(candidate.id)
        assert (token.id, token.origin, token.u, token.sampled_probability) == (candidate.id, "chosen", None, None)
        assert token.score is not None
        assert token.score.logit == candidate.logit
        assert token.score.rank == candidate.rank
        assert token.score.probability == pytest.approx(candidate.probability, abs=1e-6)
        assert walk.tokens[-1] == token
        assert_as_fresh(walk, after)


def test_redraw_uses_the_same_distribution(model: Model, after: After) -> None:
    """Each redraw replaces the token before the cursor by what the next u draws from the same distribution."""
    walk = started(model, PROMPT, Sampler(seed=2))
    before = Distribution(after(model.transformer, PROMPT))
    walk.step()
    for redraw in range(1, 12):
        token = walk.redraw()
        want = draw(before, Sampler(seed=2), uniform(2, len(PROMPT), redraw))
        assert (token.id, token.u, token.redraw) == (want.id, want.u, redraw)
        assert ids(walk) == [*PROMPT, token.id]
    assert len({uniform(2, len(PROMPT), redraw) for redraw in range(12)}) == 12
    assert_as_fresh(walk, after)


def test_a_token_of_the_prompt_cannot_be_redrawn(model: Model) -> None:
    """The error leaves the walk unchanged."""
    walk = started(model)
    walk.step()
    for cursor in (1, len(PROMPT)):
        walk.travel(cursor)
        before = walk.snapshot()
        with pytest.raises(UserError):
            walk.redraw()
        assert walk.snapshot() == before


def test_a_setting_changes_only_later_draws(small: Small) -> None:
    """Temperature, cuts and seed may change between steps; the tokens before stay."""
    walk = started(small())
    list(walk.generate(3))
    before = ids(walk)
    walk.sampler = Sampler.of(temperature=0.0)
    likeliest = walk.chart().candidates[0].id
    token = walk.step()
    assert (token.id, token.u, token.sampled_probability) == (likeliest, None, 1.0)
    assert ids(walk) == [*before, likeliest]


# Snapshots ------------------------------------------------------------------------------------------------------------


def values(value: Any) -> list[Any]:
    """Everything inside a value of events, leaf by leaf."""
    if dataclasses.is_dataclass(value):
        return [leaf for field in dataclasses.fields(value) for leaf in values(getattr(value, field.name))]
    if isinstance(value, tuple):
        return [leaf for each in value for leaf in values(each)]
    return [value]


def test_a_snapshot_is_frozen_and_holds_no_tensor(model: Model) -> None:
    """A snapshot consists of frozen values that no later step changes."""
    walk = started(model)
    list(walk.generate(3))
    list(walk.score())
    walk.travel(4)
    shot = walk.snapshot()
    assert {type(leaf) for leaf in values(shot)} <= {int, float, str, bytes, bool, type(None)}
    assert shot.chart is not None
    for part in (shot, shot.chart, shot.tokens[1], shot.chart.candidates[0], shot.chart.stages[0], shot.sampler):
        field = dataclasses.fields(part)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, field, None)
    before = repr(shot)
    list(walk.generate(3))
    list(walk.prefill(LONG))
    assert repr(shot) == before


def test_a_snapshot_describes_the_walk(small: Small) -> None:
    """Cursor, first token of the window, what can be undone, and the chart at the cursor."""
    walk = Session(small("model5"))  # T = 6
    empty = walk.snapshot()
    assert (empty.tokens, empty.cursor, empty.chart, empty.can_take_back, empty.can_redo) == ((), 0, None, False, False)
    list(walk.prefill(PROMPT))
    list(walk.generate(7))
    for cursor in range(1, 11):
        walk.travel(cursor)
        shot = walk.snapshot()
        assert (shot.cursor, shot.prompt_length, len(shot.tokens)) == (cursor, 3, 10)
        assert shot.window == max(0, cursor - 6)
        assert shot.chart == walk.chart()
        assert shot.chart is not None
        assert shot.chart.vocab_size == 257
        assert len(shot.chart.candidates) == session.SHOWN
