"""Owns every token a person tried: a tree of nodes, of which the walk is one path. Knows ids and order, no model."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from core.errors import UserError
from core.generation.token import Token
from core.walk.values import Branch, Continuation, Fan, Forest, Strand

SHOWN = 64
"""Tokens of a branch that are shown at most."""


class Node:
    """One token somewhere in the tree."""

    __slots__ = ("children", "cut", "folded", "latest", "name", "parent", "serial", "text", "token", "twin", "written")

    def __init__(self, token: Token, parent: "Node | None", serial: int) -> None:
        self.token = token
        self.written = token.origin == "prompt"
        self.parent = parent
        self.serial = serial
        self.children: dict[tuple[int, bool, int], Node] = {}
        self.latest: Node | None = None
        """The child that was visited last."""
        self.name = ""
        self.folded = False
        self.cut = False
        """Whether it was taken out of the tree; what hangs on it stays on it."""
        self.twin = 0
        """Its serial number where it was put back beside another that had grown in its place; else 0."""
        self.text: str | None = None
        """What a person wrote, at the last token it became."""

    @property
    def key(self) -> tuple[int, bool, int]:
        """What sets it apart from its siblings: written and sampled tokens of one id are two things."""
        return self.token.id, self.written, self.twin


class Tree:
    """Nodes below a root that is no token. Siblings have different ids, or one was written, or one was put back."""

    def __init__(self) -> None:
        self.root = Node(Token(-1, b""), None, 0)
        self.nodes: dict[int, Node] = {}
        """By serial number, those that were cut too."""
        self.made = 0
        self.version = 0
        """Rises with every change of what branches there are."""
        self._order_of = -1
        self._order: list[tuple[list[Node], int]] = []
        self._rows: dict[Node, int] = {}

    def child(self, parent: Node, token: Token) -> Node:
        """The child that stands for `token`, made where there is none; an old one keeps the token it had."""
        found = parent.children.get((token.id, token.origin == "prompt", 0))
        if found is None:
            self.made += 1
            found = Node(token, parent, self.made)
            self.nodes[found.serial] = found
            parent.children[found.key] = found
            self.version += 1
        return found

    def path(self, node: Node) -> list[Node]:
        """The nodes from the first token to `node`; what was cut on the way is put back."""
        path = []
        at: Node | None = node
        while at is not None and at.parent is not None:
            if at.cut:
                self.put_back(at)
            path.append(at)
            at = at.parent
        return path[::-1]

    def visit(self, path: Sequence[Node], start: int) -> None:
        """Remember that the walk went along `path`, of which the part before `start` is remembered."""
        for node in path[start:]:
            if node.parent is not None:
                node.parent.latest = node

    def end(self, node: Node) -> Node:
        """Where the walk that was last seen through `node` ends."""
        while node.latest is not None and not node.latest.cut:
            node = node.latest
        return node

    def cut(self, node: Node) -> None:
        """Take `node` and all behind it out of the tree; `put_back` undoes it."""
        if node.parent is not None and not node.cut:
            del node.parent.children[node.key]
        node.cut = True
        self.version += 1

    def forget(self, node: Node) -> None:
        """Cut a node behind which there is nothing, for good."""
        self.cut(node)
        del self.nodes[node.serial]
        if node.parent is not None and node.parent.latest is node:
            node.parent.latest = None

    def put_back(self, node: Node) -> None:
        """Undo `cut`; where a twin grew in its place meanwhile, both stay, with all behind them."""
        if node.parent is not None:
            if node.parent.children.get(node.key, node) is not node:
                node.twin = node.serial
            node.parent.children[node.key] = node
        self.nodes[node.serial] = node
        node.cut = False
        self.version += 1

    def forget_scores(self) -> None:
        """Another model will think otherwise of the tokens."""
        for node in self.nodes.values():
            node.token = replace(node.token, score=None)
        self.version += 1

    def node(self, serial: int) -> Node:
        """Raises `UserError` where the branch is gone."""
        if serial not in self.nodes:
            raise UserError("that branch is no longer there")
        return self.nodes[serial]

    def segment(self, head: Node) -> list[Node]:
        """The tokens from `head` on to where paths part or end; written and sampled ones lie in two branches."""
        nodes, at, written = [head], head, head.written
        while len(at.children) == 1:
            (at,) = at.children.values()
            if at.name or at.written != written:
                break
            nodes.append(at)
        return nodes

    def order(self) -> list[tuple[list[Node], int]]:
        """The nodes of each branch that is not folded away, and its depth, in the order of the tree."""
        if self._order_of != self.version:
            self._order_of, self._order, self._rows = self.version, [], {}
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
        """The head of the branch `by` rows from the one that `node` lies in; beyond an end means that end."""
        order = self.order()
        return order[max(0, min(self.row(node) + by, len(order) - 1))][0][0]

    def row(self, node: Node) -> int:
        """The row of the branch that `node` lies in, or in which it is folded away."""
        self.order()
        at: Node | None = node
        while at is not None and at not in self._rows:
            at = at.parent
        return 0 if at is None else self._rows[at]

    def forest(self, path: Sequence[Node], cursor: int, around: int) -> Forest:
        """The branches near the one that the cursor is in."""
        order, on_path = self.order(), set(path)
        here = self.row(path[cursor - 1]) if path else 0
        first = max(0, here - around)
        bits = dict[Node, float | None]()
        rows = tuple(self._branch(nodes, depth, on_path, bits) for nodes, depth in order[first : here + around + 1])
        return Forest(rows, first, len(order), here - first)

    def _branch(
        self, nodes: Sequence[Node], depth: int, on_path: Collection[Node], bits: dict[Node, float | None]
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

    def fan(self, start: Node, ends: Sequence[Node]) -> Fan:
        """The ways from `start` to each of `ends`, and the same ways merged."""
        ways = [self._between(start, end) for end in ends]
        continuations = tuple(
            Continuation(
                end.serial,
                tuple(node.token.piece for node in way),
                sum(node.token.score.surprisal_bits for node in way if node.token.score),
            )
            for end, way in zip(ends, ways, strict=True)
        )
        strands: list[Strand] = []
        stack: list[tuple[list[list[Node]], int]] = [(ways, 0)]
        while stack:
            together, depth = stack.pop()
            alike = 0
            while all(len(way) > alike and way[alike] is together[0][alike] for way in together):
                alike += 1
            rest: dict[int, list[list[Node]]] = {}
            for way in together:
                if len(way) > alike:
                    rest.setdefault(way[alike].serial, []).append(way[alike:])
            entropy = None
            if len(rest) > 1:
                score = next(iter(rest.values()))[0][0].token.score
                entropy = score.entropy_bits if score else None
            if alike or entropy is not None:
                run = together[0][:alike]
                pieces = tuple(node.token.piece for node in run)
                strands.append(Strand(depth, pieces, len(together), entropy, run[-1].serial if run else start.serial))
            stack += [(group, depth + 1) for group in reversed(rest.values())]
        return Fan(continuations, tuple(strands))

    def _between(self, start: Node, end: Node) -> list[Node]:
        way = []
        at: Node | None = end
        while at is not None and at is not start:
            way.append(at)
            at = at.parent
        return way[::-1]


def _surprisal(end: Node, known: dict[Node, float | None]) -> float | None:
    """Bits of all tokens after the prompt up to `end`; None where one is not measured."""
    climbed = []
    at: Node | None = end
    while at is not None and at not in known and at.token.origin != "prompt" and at.parent is not None:
        climbed.append(at)
        at = at.parent
    bits = known.get(at, 0.0) if at is not None else 0.0
    for node in reversed(climbed):
        score = node.token.score
        bits = None if bits is None or score is None else bits + score.surprisal_bits
        known[node] = bits
    return bits
