"""Branches of a walk: their rows, deletion, names, folds, drafts and memory."""

import gc
import math
import random
import tracemalloc
from typing import Any

import pytest
import torch
from walks import PROMPT, After, Small, ids, nodes_of, started, state

from core.errors import UserError
from core.generation.token import Token
from core.sampling.distribution import Distribution
from core.sampling.sampler import Sampler
from core.sampling.values import Score
from core.walk.tree import Tree

# Rows -----------------------------------------------------------------------------------------------------------------


def test_surprisal_of_a_branch_is_the_sum_along_its_path(small: Small) -> None:
    """Σ bits of every row, in float64, over what was sampled or chosen from the prompt to the row's end."""
    walk = started(small("model5"))
    chance = random.Random(5)
    for _ in range(60):
        walk.travel(chance.randrange(len(PROMPT), len(walk.tokens) + 1))
        if chance.random() < 0.5:
            walk.step()
        else:
            list(walk.continuations.sample(2, 3))
            list(walk.visit(chance.choice(walk.history.forest(999).rows).serial))
    for row in walk.history.forest(999).rows:
        head = walk.tree.node(row.serial)
        way = walk.tree.path(walk.tree.segment(head)[-1])
        sampled = [node.token.score for node in way if node.token.origin != "prompt"]
        want = math.fsum(-score.logprob / math.log(2) for score in sampled if score)
        assert row.surprisal_bits == pytest.approx(want, rel=1e-12)
        if row.origin != "prompt":
            assert head.token.score is not None
            assert row.probability == math.exp(head.token.score.logprob)


def test_a_branch_with_an_unscored_token_has_no_sum(small: Small) -> None:
    """Another model has not thought of the tokens yet; a sum that left some out would be another number."""
    walk = started(small("model3"))
    list(walk.generate(3))
    other = walk.moved_to(small("model5"))
    assert other.history.forest().rows[-1].surprisal_bits is None
    assert other.history.forest().rows[-1].probability is None
    list(other.score())
    want = math.fsum(token.score.surprisal_bits for token in other.tokens[3:] if token.score)
    assert other.history.forest().rows[-1].surprisal_bits == pytest.approx(want)


def test_a_forest_holds_only_rows_around_the_cursor(small: Small) -> None:
    """As many above and below as were requested, and the number of all rows."""
    walk = started(small())
    for id in range(30):
        walk.travel(3)
        walk.take(id)
    whole = walk.history.forest(100)
    assert whole.total == 31
    for row in (0, 7, 30):
        list(walk.visit(whole.rows[row].serial))
        part = walk.history.forest(5)
        assert part.first == max(0, row - 5)
        assert part.first + part.current == row
        assert [each.serial for each in part.rows] == [each.serial for each in whole.rows[part.first : row + 6]]
        assert part.total == 31


def test_a_branch_that_was_never_walked_can_be_visited(small: Small, after: After) -> None:
    """Continuations lie in the tree before anyone went there: a visit goes to the end of the run."""
    walk = started(small("model5"))
    list(walk.continuations.sample(3, 4))
    for row in walk.history.forest().rows:
        list(walk.visit(row.serial))
        end = walk.tree.segment(walk.tree.node(row.serial))[-1]
        assert walk.history.path[walk.cursor - 1] is end
        assert walk.cursor <= len(walk.tokens)
        want = after(walk.model.transformer, ids(walk)[: walk.cursor])
        assert (walk.distribution().logits - want).abs().max() < 1e-5


def test_a_branch_whose_sibling_was_deleted_can_be_visited(small: Small) -> None:
    """Where one of two ways is deleted the rows before and after become one, and its end is where a visit leads."""
    walk = started(small("model5"), PROMPT, Sampler.of(temperature=0))
    list(walk.generate(6))
    likeliest_path = ids(walk)
    walk.travel(6)
    walk.take(0)
    list(walk.delete(walk.history.branch()))
    assert ids(walk) == likeliest_path[:6]
    row = walk.history.forest().rows[walk.history.forest().current]
    assert row.length == 6
    list(walk.visit(row.serial))
    assert ids(walk) == likeliest_path
    assert walk.cursor == len(likeliest_path)


def test_a_branch_is_found_by_its_distance_from_the_cursor(small: Small) -> None:
    """`branch` counts rows of the forest from the one at the cursor, and ends at its ends."""
    walk = started(small())
    for id in (1, 2, 3):
        walk.travel(3)
        walk.take(id)
    serials = [row.serial for row in walk.history.forest().rows]
    for row, serial in enumerate(serials):
        list(walk.visit(serial))
        for by in (-9, -2, -1, 0, 1, 2, 9):
            assert walk.history.branch(by) == serials[max(0, min(row + by, 3))]


# Deleting -------------------------------------------------------------------------------------------------------------


def test_a_deleted_branch_comes_back_whole(small: Small) -> None:
    """A branch with all behind it goes, the walk steps back to before it, and `take_back` brings it all back."""
    walk = started(small("model5"))
    list(walk.generate(8))
    walk.travel(5)
    list(walk.continuations.sample(3, 3))
    before = state(walk)
    head = walk.tree.segment(walk.tree.node(walk.history.forest().rows[0].serial))[-1]
    for row in range(1, len(before[2])):
        serial = walk.history.forest().rows[row].serial
        list(walk.delete(serial))
        assert serial not in [each.serial for each in walk.history.forest().rows]
        assert all(node.serial != serial for node in nodes_of(walk.tree))
        walk.take_back()
        assert state(walk)[:2] == before[:2]
        assert {each[0] for each in state(walk)[2]} == {each[0] for each in before[2]}
        walk.redo()
        assert all(node.serial != serial for node in nodes_of(walk.tree))
        walk.take_back()
    assert head in walk.history.path


def test_a_deleted_branch_comes_back_beside_an_equal_new_one(small: Small) -> None:
    """Deleted, tried again, and then undone: both are there with all that hangs on them."""
    walk = started(small())
    walk.take(7)
    walk.take(8)
    walk.travel(4)
    list(walk.delete(walk.history.forest().rows[1].serial))
    walk.take(7)
    walk.take(9)
    for _ in range(3):
        walk.take_back()
    assert ids(walk) == [*PROMPT, 7, 8]
    ways = {tuple(each.token.id for each in walk.tree.path(node)) for node in nodes_of(walk.tree)}
    assert {(*PROMPT, 7, 8), (*PROMPT, 7, 9)} <= ways
    for _ in range(3):
        walk.redo()
    assert ids(walk) == [*PROMPT, 7, 9]
    ways = {tuple(each.token.id for each in walk.tree.path(node)) for node in nodes_of(walk.tree)}
    assert (*PROMPT, 7, 8) not in ways


def test_deleting_a_branch_twice_removes_nothing_else(small: Small) -> None:
    """A late second key finds the branch gone; what grew in its place meanwhile stays."""
    walk = started(small())
    walk.take(7)
    serial = walk.history.branch()
    list(walk.delete(serial))
    walk.take(7)
    list(walk.delete(serial))
    assert ids(walk) == [*PROMPT, 7]
    assert any(node.token.id == 7 for node in nodes_of(walk.tree))


def test_the_only_prompt_cannot_be_deleted(small: Small) -> None:
    """Something must stand; where there are two prompts the walk goes to the end of the other's row."""
    walk = started(small())
    with pytest.raises(UserError):
        walk.delete(walk.history.branch())
    walk.step()
    list(walk.prefill(list(b"rice")))
    list(walk.delete(walk.history.branch()))
    assert ids(walk)[:3] == PROMPT
    assert walk.cursor == 3
    walk.take_back()
    assert ids(walk) == list(b"rice")


# Names and folds ------------------------------------------------------------------------------------------------------


def test_a_named_branch_is_a_row_of_its_own(small: Small) -> None:
    """A name makes a row; an empty one takes it away; a named prompt is no draft."""
    walk = started(small())
    walk.tree.rename(walk.history.branch(), "mine")
    list(walk.prefill(list(b"rice")))
    assert [row.name for row in walk.history.forest().rows] == ["mine", ""]
    walk.tree.rename(walk.history.forest().rows[0].serial, "")
    assert [row.name for row in walk.history.forest().rows] == ["", ""]
    with pytest.raises(UserError):
        walk.tree.rename(10**6, "nobody")


def test_a_hidden_branch_is_found_through_its_folded_row(small: Small) -> None:
    """Rows behind a fold are not shown; a cursor in there is shown at the fold; a leaf has nothing to fold."""
    walk = started(small())
    for id in (1, 2, 3):
        walk.travel(3)
        walk.take(id)
    leaf, prompt = walk.history.branch(), walk.history.forest().rows[0].serial
    walk.tree.fold(leaf)
    walk.step()
    assert not any(row.folded for row in walk.history.forest().rows)
    walk.tree.fold(prompt)
    (row,) = walk.history.forest().rows
    assert (row.folded, row.parts, walk.history.forest().current) == (True, 3, 0)
    assert walk.history.branch() == prompt
    walk.tree.fold(prompt)
    assert len(walk.history.forest().rows) == 4


# Typing ---------------------------------------------------------------------------------------------------------------


def test_typing_leaves_no_drafts_in_the_tree(small: Small) -> None:
    """Each key is a prompt of its own; only the last one stays, unless something was sampled from it."""
    walk = started(small(), [])
    text = b"I prefer oat milk"
    for end in [*range(1, len(text) + 1), *range(len(text), 3, -1), *range(4, 9)]:
        list(walk.prefill(list(text[:end])))
        list(walk.score())
        assert len(nodes_of(walk.tree)) == len(walk.tree.nodes) == end
    sampled = walk.step().id
    for prompt in (b"I pray", b"I p", b"rice", b"I pref"):
        list(walk.prefill(list(prompt)))
    ends = {bytes(t.token.id for t in walk.tree.path(node)) for node in nodes_of(walk.tree) if not node.children}
    assert ends == {bytes([*text[:8], sampled])}


# Memory ---------------------------------------------------------------------------------------------------------------


def test_nodes_hold_no_distribution(small: Small) -> None:
    """However much was tried, one distribution at most is alive, and no node leads to a tensor."""
    gc.collect()
    before = [each for each in gc.get_objects() if type(each) is Distribution]  # of other tests
    walk = started(small("model5"))
    for _ in range(30):
        walk.step()
        walk.redraw()
        list(walk.continuations.sample(2, 2))
    list(walk.score())
    gc.collect()
    alive = [each for each in gc.get_objects() if type(each) is Distribution]
    assert len(alive) <= len(before) + 1
    leaves: list[Any] = list(walk.tree.nodes.values())
    seen: set[int] = set()
    while leaves:
        each = leaves.pop()
        if id(each) in seen or isinstance(each, type):
            continue
        seen.add(id(each))
        assert not isinstance(each, (torch.Tensor, Distribution))
        leaves += gc.get_referents(each)


def test_ten_thousand_nodes_fit_and_are_walked() -> None:
    """A tree of 10,000 nodes takes a few megabytes; rows, ways and ends are those of a naive count."""
    chance = random.Random(1)
    score = Score(1.0, -2.0, 3.0, 4)
    tracemalloc.start()
    tree = Tree()
    nodes = [tree.child(tree.root, Token(0, b"a"))]
    while len(nodes) < 10_000:
        parent = nodes[-1] if chance.random() < 0.7 else chance.choice(nodes)
        node = tree.child(parent, Token(chance.randrange(10**5), b"x", "sampled", score, 0.5))
        if node.serial > len(nodes):
            nodes.append(node)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 10_000 * 1_500
    assert len(nodes_of(tree)) == 10_000
    heads = 1 + sum(len(node.children) for node in nodes if len(node.children) > 1) + (len(nodes[0].children) == 1)
    assert tree.forest(tree.path(nodes[-1]), 1, 10).total == heads
    for node in chance.sample(nodes, 50):
        path = tree.path(node)
        forest = tree.forest(path, len(path), 3)
        row = forest.rows[forest.current]
        assert node in tree.segment(tree.node(row.serial))
