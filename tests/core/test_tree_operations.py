"""Random operations on a walk and its tree equal those on a plain model of lists; each can be undone."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from plain_tree import Plain
from tree_operations import KINDS, act
from walks import PROMPT, After, Small, ids, nodes_of, started, state

from core.sampling.sampler import Sampler
from core.walk.session import Session


def assert_alike(walk: Session, plain: Plain) -> None:
    """Walk, place, history and rows are those of the plain model."""
    assert ids(walk) == plain.ids
    assert walk.cursor == plain.cursor
    assert walk.prompt_length == next((n for n, t in enumerate(plain.walk) if not t.written), len(plain.walk))
    shot = walk.snapshot()
    assert (shot.can_take_back, shot.can_redo) == (bool(plain.done), bool(plain.undone))
    forest, heads = walk.history.forest(10_000), plain.heads()
    assert forest.total == len(forest.rows) == len(heads)
    assert forest.current == plain.here()
    for row, (head, depth) in zip(forest.rows, heads, strict=True):
        run = head.run()
        piece = walk.model.tokenizer.piece
        assert row.pieces == tuple(piece(thing.id) for thing in run)
        assert (row.depth, row.length, row.parts) == (depth, len(run), len(run[-1].children))
        assert (row.name, row.folded) == (head.name, head.folded and bool(run[-1].children))
        assert row.on_path == (head in plain.walk)
        assert (row.origin == "prompt") == head.written


@settings(derandomize=True, database=None, deadline=None, max_examples=3)
@given(name=st.sampled_from(["model1", "model5", "model6"]), seed=st.integers(0, 2**32))
def test_a_thousand_operations_equal_a_plain_tree(name: str, seed: int, small: Small, after: After) -> None:
    """The walk is the plain model's at every step; what comes next is what a fresh run says; nothing tried is lost."""
    chance = random.Random(seed)
    walk, plain = started(small(name), PROMPT, Sampler.of(top_k=2)), Plain()
    plain.prefill(PROMPT)
    for number in range(1000):
        act(walk, plain, chance.choice(KINDS), chance)
        assert_alike(walk, plain)
        if number % 20 == 0:
            want = after(walk.model.transformer, ids(walk)[: walk.cursor])
            assert (walk.distribution().logits - want).abs().max() < 1e-5
    fresh = started(walk.model, ids(walk)[: walk.cursor])
    assert (walk.distribution().logits - fresh.distribution().logits).abs().max() < 1e-5
    assert (walk.distribution().probabilities - fresh.distribution().probabilities).abs().max() < 1e-5
    found = {tuple((each.token.id, each.key[1]) for each in walk.tree.path(node)) for node in nodes_of(walk.tree)}
    assert found == plain.leaves()
    for row in walk.history.forest(10_000).rows:
        assert row.serial == walk.tree.node(row.serial).serial
        list(walk.visit(row.serial))
        assert walk.tree.node(row.serial) in walk.history.path


@settings(derandomize=True, database=None, deadline=None, max_examples=6)
@given(seed=st.integers(0, 2**32))
def test_undoing_and_redoing_everything_restores_each_state(seed: int, small: Small) -> None:
    """Every state of before comes again, exactly: tokens with u and settings, cursor, rows that were there then."""
    chance = random.Random(seed)
    walk, plain = started(small("model5"), PROMPT, Sampler.of(top_k=2)), Plain()
    plain.prefill(PROMPT)
    kinds = [kind for kind in KINDS if kind in ("step", "take", "redraw", "visit", "delete")]
    befores, afters = [], []
    for _ in range(150):
        depth, before = len(walk.history.done), state(walk)
        act(walk, plain, chance.choice(kinds), chance)
        if len(walk.history.done) > depth:
            befores.append(before)
            afters.append(state(walk))
        elif walk.history.done:
            afters[-1] = state(walk)
    for before in reversed(befores):
        walk.take_back()
        assert state(walk)[:2] == before[:2]
    assert not walk.snapshot().can_take_back
    for later in afters:
        walk.redo()
        assert state(walk)[:2] == later[:2]
    assert not walk.snapshot().can_redo
