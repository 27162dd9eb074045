"""Taking back and redoing steps, traveling, changing the model: every state equals a fresh walk."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from walks import LONG, NAMES, PROMPT, After, Small, assert_as_fresh, assert_scored, ids, seen, started

from core.errors import UserError
from core.loading.model import Model
from core.sampling.sampler import Sampler
from core.walk.session import Session


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, small: Small) -> Model:
    return small(request.param)


# Taking back, redoing, travelling -------------------------------------------------------------------------------------


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


def test_the_walk_counts_what_it_leaves_behind(small: Small) -> None:
    """Another token before the end, not the same one again, and neither a redraw nor a way back."""
    walk = started(small(NAMES[0]))
    walk.take(ord("x"))
    walk.take(ord("y"))
    walk.redraw()
    walk.take_back()
    assert walk.snapshot().left_behind == 0
    for id, count in ((ord("x"), 0), (ord("z"), 1), (ord("q"), 2)):
        walk.travel(len(PROMPT))
        walk.take(id)
        assert walk.snapshot().left_behind == count
    walk.take_back()
    walk.redo()
    assert walk.snapshot().left_behind == 2


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


# Another model, device or format --------------------------------------------------------------------------------------


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


# Anything, in any order -----------------------------------------------------------------------------------------------

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
KNOBS = [
    Sampler(),
    Sampler.of(temperature=0),
    Sampler.of(top_k=3, seed=1),
    Sampler.of(temperature=2, top_p=0.7, seed=2),
]


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
