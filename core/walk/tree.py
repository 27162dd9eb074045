"""The tree of all tokens that were tried in a walk; the walk is one path through it. Knows ids and no model."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from core.errors import UserError
from core.generation.token import Token
from core.language import _
from core.sampling.bounds import Bounded
from core.walk.values import Branch, Forest

SHOWN = 64
"""Tokens at most that a branch shows."""


class NodeState(NamedTuple):
    """What is saved of a node, as it stood at one moment."""

    node: "Node"
    parent: "Node | None"
    token: Token
    name: str
    folded: bool
    text: str | None
    latest: "Node | None"
    cut: bool


class Changes(NamedTuple):
    """What happened to a tree since its changes were taken before."""

    nodes: tuple[NodeState, ...] = ()
    """The nodes that are new or differ, as they stand now."""
    turned: tuple[tuple["Node", "Node | None"], ...] = ()
    """The nodes behind which another path was taken, each with the child on that path."""
    scores_forgotten: bool = False
    """Whether all other nodes lost their scores."""


class Node:
    """One token in the tree."""

    __slots__ = ("children", "copy", "cut", "folded", "latest", "name", "parent", "serial", "text", "token", "typed")

    def __init__(self, token: Token, parent: "Node | None", serial: int) -> None:
        self.token = token
        self.typed = token.origin == "prompt"
        self.parent = parent
        self.serial = serial
        """Its number in the order of creation, from 1; 0 for the root."""
        self.children: dict[tuple[int, bool, int], Node] = {}
        self.latest: Node | None = None
        """The child on the path that was taken last."""
        self.name = ""
        """The name a person gave the branch that begins here."""
        self.folded = False
        """Whether what follows the branch that begins here is hidden."""
        self.cut = False
        """Whether it was removed from its parent's children; its own children stay attached to it."""
        self.copy = 0
        """Its serial number if it was put back while an equal sibling had taken its place; else 0."""
        self.text: str | None = None
        """The prompt as it was typed, at the last of its tokens."""

    @property
    def key(self) -> tuple[int, bool, int]:
        """Distinguishes it from its siblings: a typed and a sampled token of the same id are two nodes."""
        return self.token.id, self.typed, self.copy

    def state(self) -> NodeState:
        """It as it stands now."""
        return NodeState(self, self.parent, self.token, self.name, self.folded, self.text, self.latest, self.cut)


class Tree:
    """Nodes below a root without a token. Siblings differ in id or origin, or one was put back."""

    def __init__(self) -> None:
        self.root = Node(Token(-1, b""), None, 0)
        self.nodes: dict[int, Node] = {}
        """By serial number, including those that were cut."""
        self.last_serial = 0
        self.version = 0
        """Increases with every change of the branches."""
        self._order_version = -1
        self._order: list[tuple[list[Node], int]] = []
        self._rows: dict[Node, int] = {}
        self._touched: set[Node] | None = None
        """The nodes that differ since the changes were taken; None until that is done for the first time."""
        self._turned: set[Node] = set()
        self._scores_forgotten = False

    def take_changes(self) -> Changes:
        """What has changed since the last call; nothing at the first one, from which on it is noted."""
        touched = self._touched or set()
        turned = tuple((node, node.latest) for node in self._turned if node not in touched)
        changes = Changes(tuple(node.state() for node in touched), turned, self._scores_forgotten)
        self._touched, self._turned, self._scores_forgotten = set(), set(), False
        return changes

    def touch(self, node: Node) -> None:
        """Note that a node differs. Whoever changes one outside of this class calls it."""
        if self._touched is not None:
            self._touched.add(node)

    def set_token(self, node: Node, token: Token) -> None:
        """Give a node another token value of the same id."""
        node.token = token
        self.touch(node)

    def child(self, parent: Node, token: Token) -> Node:
        """The child with the id and origin of `token`, created if necessary; an existing one keeps its token."""
        found = parent.children.get((token.id, token.origin == "prompt", 0))
        if found is None:
            self.last_serial += 1
            found = Node(token, parent, self.last_serial)
            self.nodes[found.serial] = found
            parent.children[found.key] = found
            self.touch(found)
            self.version += 1
        return found

    def path(self, node: Node) -> list[Node]:
        """The nodes from the first token to `node`; those that were cut are put back."""
        path = []
        at: Node | None = node
        while at is not None and at.parent is not None:
            if at.cut:
                self.put_back(at)
            path.append(at)
            at = at.parent
        return path[::-1]

    def visit(self, path: Sequence[Node], start: int) -> None:
        """Record `path` as taken last. Its nodes before `start` are recorded already."""
        for node in path[start:]:
            if node.parent is not None:
                self.set_latest(node.parent, node)

    def set_latest(self, parent: Node, node: Node | None) -> None:
        """Let the path that was taken last through `parent` go on with `node`."""
        if parent.latest is not node:
            parent.latest = node
            if self._touched is not None:
                self._turned.add(parent)

    def end(self, node: Node) -> Node:
        """The end of the path that was last taken through `node`."""
        while node.latest is not None and not node.latest.cut:
            node = node.latest
        return node

    def cut(self, node: Node) -> None:
        """Remove `node` and all that follows it from the tree; `put_back` undoes it."""
        if node.parent is not None and not node.cut:
            del node.parent.children[node.key]
        node.cut = True
        self.touch(node)
        self.version += 1

    def forget(self, node: Node) -> None:
        """Remove a node without children for good."""
        self.cut(node)
        del self.nodes[node.serial]
        if node.parent is not None and node.parent.latest is node:
            self.set_latest(node.parent, None)

    def put_back(self, node: Node) -> None:
        """Undo `cut`. If an equal sibling has taken its place, both stay, each with what follows it."""
        if node.parent is not None:
            if node.parent.children.get(node.key, node) is not node:
                node.copy = node.serial
            node.parent.children[node.key] = node
        self.nodes[node.serial] = node
        node.cut = False
        self.version += 1
        if self._touched is not None:  # it may have been cut before the tree was saved
            self._touched.add(node.parent or self.root)
            below = [node]
            while below:
                self._touched.add(at := below.pop())
                below += at.children.values()

    def forget_scores(self) -> None:
        """Remove the scores of all tokens, as before another model scores them."""
        for node in self.nodes.values():
            node.token = replace(node.token, score=None)
        self._scores_forgotten = True
        self.version += 1

    def node(self, serial: int) -> Node:
        """The node with a serial number. Raises `UserError` if it was removed for good."""
        if serial not in self.nodes:
            raise UserError(_("that branch does not exist any more; choose another"))
        return self.nodes[serial]

    def rename(self, serial: int, name: str) -> None:
        """Name the branch that begins with a node; an empty name removes it."""
        node = self.node(serial)
        node.name = name
        self.touch(node)
        self.version += 1

    def fold(self, serial: int) -> None:
        """Hide what follows a branch, or show it again; nothing happens if nothing follows."""
        node = self.node(serial)
        node.folded = not node.folded and bool(self.segment(node)[-1].children)
        self.touch(node)
        self.version += 1

    def segment(self, head: Node) -> list[Node]:
        """The nodes from `head` to the next fork or end; typed and sampled ones belong to different branches."""
        nodes, at = [head], head
        while len(at.children) == 1:
            (at,) = at.children.values()
            if at.name or at.typed != head.typed:
                break
            nodes.append(at)
        return nodes

    def order(self) -> list[tuple[list[Node], int]]:
        """The nodes and the depth of each visible branch, in preorder."""
        if self._order_version != self.version:
            self._order_version, self._order, self._rows = self.version, [], {}
            stack = [(child, 0) for child in reversed(self.root.children.values())]
            while stack:
                head, depth = stack.pop()
                nodes = self.segment(head)
                self._rows[head] = len(self._order)
                self._order.append((nodes, depth))
                if not head.folded:
                    below = nodes[-1].children
                    stack += [(child, depth + (len(below) > 1)) for child in reversed(below.values())]
        return self._order

    def beside(self, node: Node, by: int = 0) -> Node:
        """The first node of the branch `by` rows below that of `node`; beyond an end means that end."""
        order = self.order()
        return order[max(0, min(self.row(node) + by, len(order) - 1))][0][0]

    def row(self, node: Node) -> int:
        """The row of the branch that contains `node`, or of the one that hides it."""
        self.order()
        at: Node | None = node
        while at is not None and at not in self._rows:
            at = at.parent
        return 0 if at is None else self._rows[at]

    def forest(self, path: Sequence[Node], cursor: int, around: int) -> Forest:
        """Up to `around` branches before and after the one that contains the cursor."""
        order, on_path = self.order(), set(path)
        current = self.row(path[cursor - 1]) if path else 0
        first = max(0, current - around)
        bits = dict[Node, Bounded | None]()
        rows = tuple(self._branch(nodes, depth, on_path, bits) for nodes, depth in order[first : current + around + 1])
        return Forest(rows, first, len(order), current - first)

    def _branch(
        self, nodes: Sequence[Node], depth: int, on_path: Collection[Node], bits: dict[Node, Bounded | None]
    ) -> Branch:
        head, end = nodes[0], nodes[-1]
        return Branch(
            serial=head.serial,
            depth=depth,
            pieces=tuple(node.token.piece for node in nodes[:SHOWN]),
            length=len(nodes),
            origin=head.token.origin,
            probability=head.token.score.probability if head.token.score else None,
            surprisal_bits=_surprisal(end, bits),
            name=head.name,
            parts=len(end.children),
            folded=head.folded and bool(end.children),
            on_path=head in on_path,
        )


def _surprisal(end: Node, known: dict[Node, Bounded | None]) -> Bounded | None:
    """Bits of all tokens after the prompt up to `end`; None if one has no score. `known` caches results by node."""
    path = []
    at: Node | None = end
    while at is not None and at not in known and at.token.origin != "prompt" and at.parent is not None:
        path.append(at)
        at = at.parent
    bits: Bounded | None = known.get(at, 0.0) if at is not None else 0.0
    for node in reversed(path):
        score = node.token.score
        bits = None if bits is None or score is None else bits + score.surprisal_bits
        known[node] = bits
    return bits
