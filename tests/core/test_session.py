"""One walk: after any typing, drawing, choosing, undoing and traveling it equals a fresh walk at its position."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.engine import prefix
from core.errors import UserError
from core.loading.models import Model
from core.sampling.distribution import Distribution
from core.sampling.draw import draw, uniform
from core.sampling.sampler import Sampler
from core.tokenizers.tokenizer import END_OF_TEXT
from core.walk import model_reader, session
from core.walk.session import Session

NAMES = ["model1", "model2", "model3", "model4", "model5", "model6"]
PROMPT = list(b"oat")
LONG = list(b"I prefer oat milk in my coffee")
Small = Callable[..., Model]
After = Callable[[Any, Sequence[int]], Tensor]


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, small: Small) -> Model:
    return small(request.param)


def started(model: Model, ids: Sequence[int] = PROMPT, sampler: Sampler = Sampler()) -> Session:
    walk = Session(model, sampler)
    list(walk.prefill(ids))
    return walk


def ids(walk: Session) -> list[int]:
    return [token.id for token in walk.tokens]


def seen(walk: Session) -> Tensor:
    """The logits at the cursor."""
    return walk.distribution().logits


def assert_as_fresh(walk: Session, after: After) -> None:
    """The distribution at the cursor equals a whole-window forward over the tokens before it."""
    want = after(walk.model.transformer, ids(walk)[: walk.cursor])
    assert (seen(walk) - want).abs().max() < 1e-5


# The prompt ---------------------------------------------------------------------------------------------------------


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
    with pytest.raises(UserError) as mistake:
        list(walk.prefill(bad))
    assert len(str(mistake.value).splitlines()) == 1
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


# Steps --------------------------------------------------------------------------------------------------------------

SAMPLERS = [Sampler(seed=3), Sampler(temperature=0.7, top_k=20, top_p=0.9, seed=4), Sampler(temperature=0.0)]


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
    walk.sampler = Sampler(temperature=0.0)
    likeliest = walk.chart().candidates[0].id
    token = walk.step()
    assert (token.id, token.u, token.sampled_probability) == (likeliest, None, 1.0)
    assert ids(walk) == [*before, likeliest]


# Taking back, redoing, travelling -----------------------------------------------------------------------------------


def test_redo_restores_what_was_taken_back(model: Model, after: After) -> None:
    """Back to the prompt one by one and forward again: the same tokens, scores and u."""
    walk = started(model)
    walk.step()
    walk.take(ord("x"))
    walk.redraw()
    list(walk.generate(9))
    states = [(tuple(walk.tokens), walk.cursor)]
    while walk.snapshot().can_take_back:
        walk.take_back()
        states.append((tuple(walk.tokens), walk.cursor))
        assert_as_fresh(walk, after)
    assert ids(walk) == PROMPT
    with pytest.raises(UserError):
        walk.take_back()
    for tokens, cursor in states[-2::-1]:
        assert walk.snapshot().can_redo
        walk.redo()
        assert (tuple(walk.tokens), walk.cursor) == (tokens, cursor)
        assert_as_fresh(walk, after)
    with pytest.raises(UserError):
        walk.redo()


def test_a_step_in_the_middle_keeps_the_old_continuation(model: Model, after: After) -> None:
    """A step at an earlier position ends the walk there; taking it back restores every later token."""
    walk = started(model, PROMPT, Sampler(seed=5))
    list(walk.generate(12))
    tail = tuple(walk.tokens)
    for cursor in (1, 2, len(PROMPT), len(PROMPT) + 1, 9, len(tail) - 1):
        for branch in (walk.step, lambda: walk.take(ord("q"))):
            walk.travel(cursor)
            branch()
            assert len(walk.tokens) == walk.cursor == cursor + 1
            assert_as_fresh(walk, after)
            walk.step()
            walk.take_back()
            walk.take_back()
            assert tuple(walk.tokens) == tail
            assert_as_fresh(walk, after)


@pytest.mark.parametrize("cursor", [1, 3, 5, 8])
def test_taking_back_returns_to_the_position_before(small: Small, cursor: int) -> None:
    """Taking back a step, choice or redraw in the middle shows the position at which it was made."""
    walk = started(small())
    list(walk.generate(5))
    walk.travel(cursor)
    before = tuple(walk.tokens), walk.cursor
    for change in (walk.step, lambda: walk.take(ord("q"))):
        change()
        walk.take_back()
        assert (tuple(walk.tokens), walk.cursor) == before
    if cursor > len(PROMPT):
        walk.redraw()
        walk.take_back()
        assert (tuple(walk.tokens), walk.cursor) == before


def test_a_new_step_clears_redo(model: Model) -> None:
    """After a new step the undone tokens cannot be redone."""
    walk = started(model)
    list(walk.generate(3))
    walk.take_back()
    walk.take(ord("z"))
    assert not walk.snapshot().can_redo
    with pytest.raises(UserError):
        walk.redo()


def test_traveling_shows_each_position(model: Model, after: After) -> None:
    """Every position has its own distribution and next token; a cursor beyond an end means that end."""
    walk = started(model, LONG[:8])
    list(walk.generate(10))
    whole = tuple(walk.tokens)
    for cursor in [*range(18, 0, -1), 3, 17, 1, 18]:
        walk.travel(cursor)
        assert walk.cursor == cursor
        assert_as_fresh(walk, after)
        taken = walk.chart().taken
        assert (taken.id if taken else None) == (whole[cursor].id if cursor < 18 else None)
    for asked, got in ((0, 1), (-5, 1), (19, 18), (10**9, 18)):
        walk.travel(asked)
        assert walk.cursor == got
    assert tuple(walk.tokens) == whole


# Scores -------------------------------------------------------------------------------------------------------------


def assert_scored(walk: Session, at: int, after: After) -> None:
    """Token `at` has the log-softmax, rank and entropy of the oracle's logits before it, in float64."""
    score = walk.tokens[at].score
    assert score is not None
    logits = after(walk.model.transformer, ids(walk)[:at]).double()
    exact = torch.log_softmax(logits, dim=0)
    own = logits[ids(walk)[at]]
    assert score.logit == pytest.approx(own.item(), abs=1e-5)
    assert score.logprob == pytest.approx(exact[ids(walk)[at]].item(), abs=1e-5)
    assert score.entropy_bits == pytest.approx(-(exact.exp() * exact).sum().item() / math.log(2), abs=1e-4)
    assert int((logits > own + 1e-5).sum()) <= score.rank <= int((logits > own - 1e-5).sum())


@pytest.mark.parametrize("at_once", [1, 4, 32])
@pytest.mark.parametrize("text", [PROMPT, LONG[:6], LONG[:7], LONG], ids=len)
def test_prompts_and_samples_are_scored(
    model: Model, text: list[int], at_once: int, after: After, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every token but the first gets its score, below, at and beyond the context."""
    monkeypatch.setattr(model_reader, "SCORED_AT_ONCE", at_once)
    walk = started(model, text)
    assert walk.unscored()
    list(walk.generate(3))
    walk.take(0)
    assert all(token.score for token in walk.tokens[len(text) :])
    pauses = len(list(walk.score()))
    assert pauses >= math.ceil((len(text) - 1) / at_once)
    assert not walk.unscored()
    assert walk.tokens[0].score is None
    for at in range(1, len(walk.tokens)):
        assert_scored(walk, at, after)
    assert list(walk.score()) == []
    assert_as_fresh(walk, after)


def test_scoring_starts_at_the_end_and_can_be_interrupted(
    small: Small, after: After, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last tokens are scored first; a later call continues where the first stopped."""
    monkeypatch.setattr(model_reader, "SCORED_AT_ONCE", 3)
    walk = started(small(), LONG)
    scoring = walk.score()
    while walk.tokens[-1].score is None:
        next(scoring)
    scoring.close()
    scored = [at for at, token in enumerate(walk.tokens) if token.score]
    assert scored == list(range(len(LONG) - 3, len(LONG)))
    list(walk.score())
    for at in range(1, len(LONG)):
        assert_scored(walk, at, after)


def test_very_long_prompts_are_scored_within_a_budget(
    small: Small, after: After, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the context each score costs a window: the last ones first, as many as the budget allows."""
    context = 6
    monkeypatch.setattr(model_reader, "SCORED_BEYOND", 5 * context)
    walk = started(small("model5"), LONG)
    list(walk.score())
    scored = [at for at, token in enumerate(walk.tokens) if token.score]
    assert scored == [*range(1, context + 1), *range(len(LONG) - 5, len(LONG))]
    for at in scored:
        assert_scored(walk, at, after)
    while walk.unscored():
        list(walk.score())
    assert_scored(walk, context + 1, after)


# Another model, device or format ------------------------------------------------------------------------------------


def test_a_walk_goes_on_in_another_model(small: Small, after: After) -> None:
    """Tokens, position and history stay; scores and the next step come from the other model."""
    walk = started(small("model3"), PROMPT, Sampler(seed=6))
    list(walk.generate(9))
    walk.take_back()
    walk.travel(8)
    old = walk.snapshot()
    other = walk.moved_to(small("model5"))
    assert ids(other) == ids(walk)
    assert (other.cursor, other.prompt_length, other.sampler) == (walk.cursor, walk.prompt_length, walk.sampler)
    assert all(token.score is None for token in other.tokens)
    assert [t.u for t in other.tokens] == [t.u for t in walk.tokens]
    assert_as_fresh(other, after)
    list(other.score())
    for at in range(1, len(other.tokens)):
        assert_scored(other, at, after)
    fresh = started(small("model5"), ids(walk)[:8], Sampler(seed=6))
    assert other.step().id == fresh.step().id
    longest = ids(other)
    for move, end in ((other.take_back, PROMPT), (other.redo, longest)):
        for _ in range(9):
            move()
            assert_as_fresh(other, after)
        assert ids(other) == end
    assert walk.snapshot() == old


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_a_walk_goes_on_in_another_number_format(small: Small, after: After, dtype: str) -> None:
    """At the same token, with that format's logits upcast; going back gives the exact walk again."""
    walk = started(small("model5"))
    list(walk.generate(8))
    rounded = walk.moved_to(small("model5", dtype))
    assert rounded.model.info.dtype == dtype
    assert (ids(rounded), rounded.cursor) == (ids(walk), walk.cursor)
    assert seen(rounded).dtype == torch.float32
    spread = seen(walk).abs().max().item()
    epsilon = torch.finfo(small("model5", dtype).transformer.dtype).eps
    assert 0 < (seen(rounded) - seen(walk)).abs().max().item() < 16 * epsilon * spread
    rounded.step()
    back = rounded.moved_to(walk.model)
    back.take_back()
    assert ids(back) == ids(walk)
    assert (seen(back) - seen(walk)).abs().max() < 1e-5


# Snapshots ----------------------------------------------------------------------------------------------------------


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


# Anything, in any order ---------------------------------------------------------------------------------------------

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("prefill"), st.lists(st.sampled_from(b"ab"), max_size=10)),
        st.tuples(st.sampled_from(["step", "step", "step", "redraw", "take_back", "redo", "score"]), st.just(0)),
        st.tuples(st.just("take"), st.integers(0, 256)),
        st.tuples(st.just("travel"), st.integers(-1, 20)),
        st.tuples(st.just("move"), st.sampled_from(NAMES)),
        st.tuples(st.just("sampler"), st.integers(0, 3)),
    ),
    max_size=25,
)
KNOBS = [Sampler(), Sampler(temperature=0), Sampler(top_k=3, seed=1), Sampler(temperature=2, top_p=0.7, seed=2)]


@settings(derandomize=True, database=None, deadline=None, max_examples=100)
@given(name=st.sampled_from(NAMES), operations=OPERATIONS)
def test_any_walk_equals_a_fresh_one_at_its_position(
    name: str, operations: list[tuple[str, Any]], small: Small, after: After
) -> None:
    """Random operations against a plain list of ids with full copies as history: same ids, same logits, same scores."""
    walk = started(small(name), [])
    plain, done, undone = ids(walk), list[list[int]](), list[list[int]]()

    def changed(to: list[int]) -> None:
        nonlocal plain
        done.append(plain)
        undone.clear()
        plain = to

    for kind, value in operations:
        cursor = walk.cursor
        if kind == "prefill":
            list(walk.prefill(value))
            plain = list(value) or [256]
            done.clear()
            undone.clear()
        elif kind == "step":
            changed([*plain[:cursor], walk.step().id])
        elif kind == "take":
            walk.take(value)
            changed([*plain[:cursor], value])
        elif kind == "redraw" and cursor > walk.prompt_length:
            changed([*plain[: cursor - 1], walk.redraw().id])
        elif kind == "take_back" and done:
            walk.take_back()
            undone.append(plain)
            plain = done.pop()
        elif kind == "redo" and undone:
            walk.redo()
            done.append(plain)
            plain = undone.pop()
        elif kind == "score":
            list(walk.score())
            for at in range(1, len(plain)):
                assert_scored(walk, at, after)
        elif kind == "travel":
            walk.travel(value)
        elif kind == "move":
            walk = walk.moved_to(small(value))
        elif kind == "sampler":
            walk.sampler = KNOBS[value]
        assert ids(walk) == plain
        assert 1 <= walk.cursor <= len(plain)
        shot = walk.snapshot()
        assert (shot.can_take_back, shot.can_redo) == (bool(done), bool(undone))
        assert_as_fresh(walk, after)
    fresh = Session(walk.model, walk.sampler)
    list(fresh.prefill(plain))
    walk.travel(len(plain))
    assert (seen(walk) - seen(fresh)).abs().max() < 1e-5
