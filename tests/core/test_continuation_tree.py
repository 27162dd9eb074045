"""Continuations in the tree: each equals a walk with its own seed, and the merged strands spell the same texts."""

from collections import Counter
from dataclasses import replace

import pytest
from walks import After, Small, started

from core.errors import UserError
from core.loading.model import Model
from core.sampling.sampler import Sampler
from core.walk.session import Session
from core.walk.values import ContinuationTree

NAMES = ["model1", "model3", "model5", "model6"]
SAMPLERS = [Sampler(), Sampler.of(temperature=0.6, top_k=3, seed=9), Sampler.of(temperature=0)]


def fanned(
    model: Model, samples: int, count: int, sampler: Sampler, cursor: int = 3
) -> tuple[Session, ContinuationTree]:
    walk = started(model, sampler=sampler)
    list(walk.generate(4))
    walk.travel(cursor)
    list(walk.continuations.sample(samples, count))
    return walk, walk.continuations.tree()


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
@pytest.mark.parametrize("cursor", [1, 3, 5, 7])
@pytest.mark.parametrize("name", NAMES)
def test_continuation_i_equals_the_session_with_seed_plus_i(
    small: Small, name: str, cursor: int, sampler: Sampler
) -> None:
    """From the prompt, its middle and after it, beyond the context: pieces, surprisal, position."""
    model = small(name)
    walk, tree = fanned(model, 5, 7, sampler, cursor)
    before = [token.id for token in walk.tokens[:cursor]]
    for number, each in enumerate(tree.continuations):
        alone = started(model, before, replace(sampler, seed=sampler.seed + number))
        tokens = list(alone.generate(7))
        assert each.pieces == tuple(token.piece for token in tokens)
        bits = sum(token.score.surprisal_bits for token in tokens if token.score)
        assert each.surprisal_bits == pytest.approx(bits, abs=1e-3)
        list(walk.visit(each.serial))
        assert [token.id for token in walk.tokens] == [token.id for token in alone.tokens]


def test_the_first_continuation_equals_the_next_steps(small: Small) -> None:
    """Stepping on follows the first continuation and opens no branch."""
    walk = started(small("model5"))
    list(walk.continuations.sample(4, 6))
    rows, first = walk.history.forest().total, walk.continuations.tree().continuations[0]
    tokens = list(walk.generate(6))
    assert tuple(token.piece for token in tokens) == first.pieces
    assert walk.history.forest().total == rows


def test_continuations_do_not_move_the_walk(small: Small) -> None:
    """Walk, cursor and history stay the same; the branches are in the tree."""
    walk = started(small("model5"))
    list(walk.generate(5))
    walk.travel(4)
    before = walk.snapshot()
    progress = list(walk.continuations.sample(3, 4))
    assert [each.done for each in progress] == [1, 2, 3, 4]
    assert {each.total for each in progress} == {4}
    assert walk.snapshot() == before
    list(walk.visit(walk.continuations.tree().continuations[2].serial))
    walk.take_back()
    assert walk.snapshot() == replace(before, can_redo=True)


def test_without_continuations_the_tree_is_empty(small: Small) -> None:
    assert started(small()).continuations.tree() == ContinuationTree((), ())


def test_interrupted_continuations_keep_their_tokens(small: Small) -> None:
    """They can be interrupted between two tokens; the tokens so far stay and can be continued."""
    walk = started(small("model5"))
    sampling = walk.continuations.sample(3, 10)
    next(sampling)
    next(sampling)
    sampling.close()
    assert [len(each.pieces) for each in walk.continuations.tree().continuations] == [2, 2, 2]
    empty = started(small())
    empty.continuations.sample(3, 10)
    assert empty.continuations.tree() == ContinuationTree((), ())


def ways(tree: ContinuationTree) -> Counter[tuple[bytes, ...]]:
    """What the strands spell from the start to each end, and how many continuations end there."""
    found: Counter[tuple[bytes, ...]] = Counter()
    open_: list[tuple[int, tuple[bytes, ...], int]] = []

    def close(depth: int) -> None:
        while open_ and open_[-1][0] >= depth:
            _, spelled, count = open_.pop()
            if count:
                found[spelled] += count

    for strand in tree.strands:
        close(strand.depth)
        before = open_[-1][1] if open_ else ()
        if open_:
            open_[-1] = (*open_[-1][:2], open_[-1][2] - strand.count)
        open_.append((strand.depth, (*before, *strand.pieces), strand.count))
    close(0)
    return found


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
@pytest.mark.parametrize("samples", [1, 2, 5, 32])
@pytest.mark.parametrize("name", NAMES)
def test_strands_are_the_continuations_merged(small: Small, name: str, samples: int, sampler: Sampler) -> None:
    """Strands with their counts spell each continuation; the count of a strand is the sum of those that follow it."""
    _, tree = fanned(small(name), samples, 6, sampler)
    assert ways(tree) == Counter(each.pieces for each in tree.continuations)
    assert tree.strands[0].depth == 0
    assert tree.strands[0].count == samples
    for at, strand in enumerate(tree.strands):
        below = []
        for later in tree.strands[at + 1 :]:
            if later.depth <= strand.depth:
                break
            if later.depth == strand.depth + 1:
                below.append(later.count)
        assert (strand.entropy_bits is None) == (not below)
        assert not below or sum(below) == strand.count
        assert len(below) != 1
        assert strand.pieces or (at == 0 and below)


@pytest.mark.parametrize("cursor", [1, 3, 6])
@pytest.mark.parametrize("name", NAMES)
def test_a_fork_carries_the_entropy_of_its_distribution(small: Small, name: str, cursor: int, after: After) -> None:
    """H of the distribution at the end of a strand equals the whole-window forward in float64; it can be visited."""
    model = small(name)
    walk, tree = fanned(model, 12, 4, Sampler.of(temperature=0.7, top_k=3), cursor)
    parted = [strand for strand in tree.strands if strand.entropy_bits is not None]
    assert parted
    start = [token.id for token in walk.tokens[:cursor]]
    for strand in parted:
        if strand.pieces:
            list(walk.visit(strand.serial))
            assert tuple(token.piece for token in walk.tokens[: walk.cursor])[-len(strand.pieces) :] == strand.pieces
            assert [token.id for token in walk.tokens[:cursor]] == start
        ids = [token.id for token in walk.tokens[: walk.cursor]] if strand.pieces else start
        p = after(model.transformer, ids).double().softmax(-1)
        assert strand.entropy_bits == pytest.approx(float(-(p * p.log2()).sum()), abs=1e-5)


def test_equal_continuations_are_one_strand(small: Small) -> None:
    """Greedy sampling has one text, so there is one strand."""
    _, tree = fanned(small("model5"), 5, 6, Sampler.of(temperature=0))
    (strand,) = tree.strands
    assert (strand.count, strand.pieces, strand.entropy_bits) == (5, tree.continuations[0].pieces, None)


def test_a_deleted_continuation_can_still_be_visited(small: Small) -> None:
    """A visit puts it back, and taking that visit back leaves a valid walk."""
    walk, tree = fanned(small("model5"), 3, 4, Sampler())
    list(walk.visit(tree.continuations[1].serial))
    tokens = [token.id for token in walk.tokens]
    list(walk.delete(walk.history.branch()))
    assert [token.id for token in walk.tokens] != tokens
    list(walk.visit(tree.continuations[1].serial))
    assert [token.id for token in walk.tokens] == tokens
    walk.snapshot()
    while walk.snapshot().can_take_back:
        walk.take_back()
    walk.snapshot()


def test_another_model_starts_without_continuations(small: Small) -> None:
    """The earlier ones stay branches of the tree without scores, and can be visited."""
    walk, tree = fanned(small("model3"), 3, 4, Sampler())
    other = walk.moved_to(small("model5"))
    assert other.continuations.tree() == ContinuationTree((), ())
    list(other.visit(tree.continuations[2].serial))
    assert tuple(token.piece for token in other.tokens[3:]) == tree.continuations[2].pieces
    with pytest.raises(UserError):
        other.visit(10**6)
