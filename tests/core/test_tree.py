"""The tree of everything tried, against a plain model of lists: what stands, what can be reached, what is undone."""

import gc
import math
import random
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.errors import UserError
from core.generation.token import Token
from core.loading.models import Model
from core.sampling.distribution import Distribution
from core.sampling.sampler import Sampler
from core.sampling.values import Score
from core.walk.session import Session
from core.walk.tree import Node, Tree

Small = Callable[..., Model]
After = Callable[[Any, Sequence[int]], Tensor]
Leaf = tuple[tuple[int, bool], ...]
"""A path from the root: ids, and whether each was written."""

PROMPT = list(b"oat")


def started(model: Model, ids: Sequence[int] = PROMPT, sampler: Sampler = Sampler()) -> Session:
    walk = Session(model, sampler)
    list(walk.prefill(ids))
    return walk


def ids(walk: Session) -> list[int]:
    return [token.id for token in walk.tokens]


def nodes_of(tree: Tree) -> list[Node]:
    """Every node that hangs on the root, parents first."""
    found, stack = [], list(tree.root.children.values())
    while stack:
        node = stack.pop()
        found.append(node)
        stack += node.children.values()
    return found


def state(walk: Session) -> tuple[Any, ...]:
    """What a person sees of the walk and of the tree, the measures that come by themselves aside."""
    forest = walk.history.forest(10_000)
    rows = [(row.serial, row.depth, row.pieces, row.length, row.on_path, row.folded, row.name) for row in forest.rows]
    tokens = [(token.id, token.origin, token.u, token.redraw, token.sampler) for token in walk.tokens]
    return tokens, walk.cursor, rows, forest.current


# The plain model ----------------------------------------------------------------------------------------------------


@dataclass
class PlainNode:
    """A token somewhere."""

    id: int
    written: bool
    parent: "PlainNode | None"
    children: list["PlainNode"] = field(default_factory=list)
    last: "PlainNode | None" = None
    name: str = ""
    folded: bool = False
    gone: bool = False
    copy: bool = False
    """Whether it came back beside another of the same id."""

    def way(self) -> list["PlainNode"]:
        return [] if self.parent is None else [*self.parent.way(), self]

    def run(self) -> list["PlainNode"]:
        """From here to where paths part."""
        things = [self]
        while len(things[-1].children) == 1:
            (only,) = things[-1].children
            if only.written != self.written or only.name:
                break
            things.append(only)
        return things

    def end(self) -> "PlainNode":
        at = self
        while at.last is not None and at.last in at.children:
            at = at.last
        return at


class Plain:
    """The same walk with copies of everything and no cleverness."""

    def __init__(self) -> None:
        self.root = PlainNode(-1, False, None)
        self.walk: list[PlainNode] = []
        self.cursor = 0
        self.done: list[dict[str, Any]] = []
        self.undone: list[dict[str, Any]] = []

    @property
    def ids(self) -> list[int]:
        return [thing.id for thing in self.walk]

    def leaves(self) -> set[Leaf]:
        found: set[Leaf] = set()

        def go(thing: PlainNode, path: Leaf) -> None:
            if path:
                found.add(path)
            for child in thing.children:
                go(child, (*path, (child.id, child.written)))

        go(self.root, ())
        return found

    def child(self, parent: PlainNode, id: int, written: bool) -> PlainNode:
        for each in parent.children:
            if (each.id, each.written, each.copy) == (id, written, False):
                return each
        parent.children.append(PlainNode(id, written, parent))
        return parent.children[-1]

    def go(self, things: list[PlainNode], cursor: int) -> None:
        for before, after in zip([self.root, *things], things, strict=False):
            before.last = after
        self.walk, self.cursor = list(things), cursor

    def note(self, before: tuple[list[PlainNode], int], **more: Any) -> None:
        self.done.append({"before": before, "after": (list(self.walk), self.cursor), **more})
        self.undone.clear()

    def prefill(self, prompt: Sequence[int]) -> None:
        old = self.walk
        at, things = self.root, []
        for id in prompt or [256]:
            at = self.child(at, id, True)
            things.append(at)
        self.go(things, len(things))
        for thing in reversed([each for each in old if each not in things]):
            if thing.children or thing.name or not thing.written:
                break
            assert thing.parent is not None
            thing.parent.children.remove(thing)
        self.done.clear()
        self.undone.clear()

    def put(self, at: int, id: int) -> None:
        before = (list(self.walk), self.cursor)
        self.go([*self.walk[:at], self.child(self.walk[at - 1], id, False)], at + 1)
        self.note(before)

    def heads(self) -> list[tuple[PlainNode, int]]:
        """Every row: where it begins, and how many partings are before it."""
        rows: list[tuple[PlainNode, int]] = []

        def go(head: PlainNode, depth: int) -> None:
            rows.append((head, depth))
            below = head.run()[-1].children
            if not head.folded:
                for child in below:
                    go(child, depth + (len(below) > 1))

        for child in self.root.children:
            go(child, 0)
        return rows

    def here(self) -> int:
        heads = [head for head, _ in self.heads()]
        way = self.walk[: self.cursor]
        return next(heads.index(thing) for thing in reversed(way) if thing in heads)

    def enter(self, head: PlainNode) -> None:
        last = head.run()[-1]
        self.go(last.end().way(), len(last.way()))

    def visit(self, row: int) -> None:
        before = (list(self.walk), self.cursor)
        self.enter(self.heads()[row][0])
        if self.done and self.done[-1].get("visit"):
            self.done[-1]["after"] = (list(self.walk), self.cursor)
            self.undone.clear()
        else:
            self.note(before, visit=True)

    def delete(self, row: int) -> bool:
        head = self.heads()[row][0]
        parent = head.parent
        assert parent is not None
        if parent is self.root and len(parent.children) == 1:
            return False
        before = (list(self.walk), self.cursor)
        parent.children.remove(head)
        if head in self.walk:
            if parent is self.root:
                self.enter(parent.children[0])
            else:
                self.go(parent.way(), len(parent.way()))
        self.note(before, cut=head)
        return True

    def back(self) -> None:
        change = self.done.pop()
        self.undone.append(change)
        if head := change.get("cut"):
            head.copy = head.copy or any(
                (each.id, each.written, each.copy) == (head.id, head.written, False) for each in head.parent.children
            )
            head.parent.children.append(head)
        self.go(*change["before"])

    def again(self) -> None:
        change = self.undone.pop()
        self.done.append(change)
        self.go(*change["after"])
        if head := change.get("cut"):
            head.parent.children.remove(head)


# Anything in any order ----------------------------------------------------------------------------------------------

KINDS = ["step"] * 6 + ["take"] * 3 + ["redraw"] * 2 + ["take_back"] * 4 + ["redo"] * 3 + ["travel"] * 3
KINDS += ["visit"] * 4 + ["fold", "rename", "delete", "delete", "continuations", "prefill", "seed", "score"]
SAMPLERS = [Sampler(top_k=2), Sampler(top_k=2, seed=3), Sampler(temperature=0)]


def act(walk: Session, plain: Plain, kind: str, chance: random.Random) -> None:  # noqa: PLR0912  # one an operation
    """One operation on both."""
    cursor = walk.cursor
    rows = walk.history.forest(10_000).rows
    row = chance.randrange(len(rows))
    if kind == "step":
        plain.put(cursor, walk.step().id)
    elif kind == "take":
        id = chance.randrange(4)
        walk.take(id)
        plain.put(cursor, id)
    elif kind == "redraw":
        if cursor > walk.prompt_length:
            plain.put(cursor - 1, walk.redraw().id)
    elif kind == "take_back" and plain.done:
        walk.take_back()
        plain.back()
    elif kind == "redo" and plain.undone:
        walk.redo()
        plain.again()
    elif kind == "travel":
        walk.travel(chance.randrange(-1, len(walk.tokens) + 3))
        plain.cursor = walk.cursor
    elif kind == "visit":
        list(walk.visit(rows[row].serial))
        plain.visit(row)
    elif kind == "fold":
        head = plain.heads()[row][0]
        walk.tree.fold(rows[row].serial)
        head.folded = not head.folded and bool(head.run()[-1].children)
    elif kind == "rename":
        name = chance.choice(["", "a", "b"])
        plain.heads()[row][0].name = name
        walk.tree.rename(rows[row].serial, name)
    elif kind == "delete":
        if plain.delete(row):
            list(walk.delete(rows[row].serial))
        else:
            with pytest.raises(UserError):
                walk.delete(rows[row].serial)
    elif kind == "continuations":
        list(walk.continuations(chance.randrange(1, 4), chance.randrange(1, 4)))
        for way in (leaf.pieces for leaf in walk.continuation_tree().continuations):
            at = plain.walk[plain.cursor - 1]
            for piece in way:
                at = plain.child(at, 256 if len(piece) > 1 else piece[0], False)
    elif kind == "prefill":
        prompt = [chance.randrange(3) for _ in range(chance.randrange(6))]
        list(walk.prefill(prompt))
        plain.prefill(prompt)
    elif kind == "seed":
        walk.sampler = chance.choice(SAMPLERS)
    elif kind == "score":
        list(walk.score())


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
    walk, plain = started(small(name), PROMPT, Sampler(top_k=2)), Plain()
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
    walk, plain = started(small("model5"), PROMPT, Sampler(top_k=2)), Plain()
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


# Rows ---------------------------------------------------------------------------------------------------------------


def test_surprisal_of_a_branch_is_the_sum_along_its_path(small: Small) -> None:
    """Σ bits of every row, in float64, over what was sampled or chosen from the prompt to the row's end."""
    walk = started(small("model5"))
    chance = random.Random(5)
    for _ in range(60):
        walk.travel(chance.randrange(len(PROMPT), len(walk.tokens) + 1))
        if chance.random() < 0.5:
            walk.step()
        else:
            list(walk.continuations(2, 3))
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
    """As many above and below as asked for; how many there are besides is said."""
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
    list(walk.continuations(3, 4))
    for row in walk.history.forest().rows:
        list(walk.visit(row.serial))
        end = walk.tree.segment(walk.tree.node(row.serial))[-1]
        assert walk.history.path[walk.cursor - 1] is end
        assert walk.cursor <= len(walk.tokens)
        want = after(walk.model.transformer, ids(walk)[: walk.cursor])
        assert (walk.distribution().logits - want).abs().max() < 1e-5


def test_a_branch_whose_sibling_was_deleted_can_be_visited(small: Small) -> None:
    """Where one of two ways is deleted the rows before and after become one, and its end is where a visit leads."""
    walk = started(small("model5"), PROMPT, Sampler(temperature=0))
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


# Deleting -----------------------------------------------------------------------------------------------------------


def test_a_deleted_branch_comes_back_whole(small: Small) -> None:
    """A branch with all behind it goes, the walk steps back to before it, and `take_back` brings it all back."""
    walk = started(small("model5"))
    list(walk.generate(8))
    walk.travel(5)
    list(walk.continuations(3, 3))
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


# Names and folds ----------------------------------------------------------------------------------------------------


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


# Typing -------------------------------------------------------------------------------------------------------------


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


# Memory -------------------------------------------------------------------------------------------------------------


def test_nodes_hold_no_distribution(small: Small) -> None:
    """However much was tried, one distribution at most is alive, and no node leads to a tensor."""
    walk = started(small("model5"))
    for _ in range(30):
        walk.step()
        walk.redraw()
        list(walk.continuations(2, 2))
    list(walk.score())
    gc.collect()
    alive = [each for each in gc.get_objects() if type(each) is Distribution]
    assert len(alive) <= 1
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
