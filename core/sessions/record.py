"""The value of a saved walk, and how it is taken from a session. Needs no torch."""

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple, Protocol

from core.activations.patch import Patch
from core.causal.question import CausalQuestion
from core.errors import UserError
from core.generation.token import Token
from core.language import _
from core.loading.info import ModelInfo
from core.sampling.sampler import Sampler
from core.tokenizers.tokenizer import Tokenizer, piece_text
from core.walk.tree import Node, NodeState, Tree

if TYPE_CHECKING:
    from core.walk.session import Session

FORMAT = "tokenwalk session"
VERSION = 3
WITHOUT_BOUNDS = 2
"""The version of a file in which every number is known, so that older programs can read it."""


class NodeRow(NamedTuple):
    """A node of the tree. Rows come in preorder and are numbered from 1 in that order."""

    parent: int
    """The number of its parent's row; 0 for a first token."""
    token: Token
    name: str = ""
    """The name of the branch that begins here."""
    folded: bool = False
    """Whether what follows that branch is hidden."""
    latest: bool = False
    """Whether the path taken last through its parent goes on here."""
    text: str | None = None
    """The prompt as it was typed, at the last of its tokens."""


@dataclass(frozen=True, slots=True)
class Record:
    """A saved walk: all that is needed to continue it, and all that can be shown of it without its model."""

    model: ModelInfo
    """The present model, which gave all scores."""
    sampler: Sampler
    rows: tuple[NodeRow, ...]
    end: int
    """The number of the row at which the walk ends."""
    cursor: int
    """How many tokens stand before the point that is looked at."""
    patches: tuple[Patch, ...] = ()
    """The patches that are active in the model."""
    question: CausalQuestion = CausalQuestion()  # noqa: RUF009  # a frozen value
    """What causal experiments were asked."""
    written: str = ""
    """When it was written, in ISO 8601; empty if it was not."""
    program: str = ""
    """The version of the program that wrote it."""

    def path(self) -> tuple[Token, ...]:
        """The tokens of the walk."""
        return tuple(self.rows[number - 1].token for number in self._numbers())

    def _numbers(self) -> list[int]:
        """The rows of the walk, by number."""
        numbers, at = [], self.end
        while at:
            numbers.append(at)
            at = self.rows[at - 1].parent
        return numbers[::-1]

    @property
    def prompt(self) -> str:
        """The prompt of the walk as it was typed, or the text of its tokens."""
        path = (self.rows[number - 1] for number in self._numbers())
        rows = list(takewhile(lambda row: row.token.origin == "prompt", path))
        if rows and rows[-1].text is not None:
            return rows[-1].text
        return piece_text(b"".join(row.token.piece for row in rows))

    @property
    def branches(self) -> int:
        """How many leaves the tree has."""
        return len(self.rows) - len({row.parent for row in self.rows} - {0})

    def tree(self) -> tuple[Tree, Node]:
        """The tree, and the node at which the walk ends."""
        tree = Tree()
        nodes = [tree.root]
        for row in self.rows:
            node = tree.child(nodes[row.parent], row.token)
            node.name, node.folded, node.text = row.name, row.folded, row.text
            if row.latest:
                nodes[row.parent].latest = node
            nodes.append(node)
        return tree, nodes[self.end]

    def check(self, tokenizer: Tokenizer) -> None:
        """Raise `UserError` if an id of the walk is another token in `tokenizer`."""
        for id, piece in {row.token.id: row.token.piece for row in self.rows}.items():
            if id >= tokenizer.vocab_size or tokenizer.piece(id) != piece:
                raise UserError(
                    _(
                        "this walk has the tokens of {tokenizer}, in which id {id} is {piece!r}, not those of {name}; "
                        "choose a model with the same tokenizer"
                    ),
                    tokenizer=self.model.tokenizer,
                    id=id,
                    piece=piece_text(piece),
                    name=tokenizer.name,
                )


class Copy(Protocol):
    """A copy of a walk, of which any thread can build the record."""

    def __call__(self, numbers: dict[Node, int] | None = None) -> Record:
        """The record; `numbers` receives the number of each node's row."""


def copy(session: "Session") -> Copy:
    """Copy a walk, which takes about a millisecond; the returned function builds its record, on any thread."""
    end = session.history.position.end
    return copy_tree(
        session.info, session.sampler, session.tree, end, session.cursor, session.patches, session.question
    )


def copy_tree(
    model: ModelInfo,
    sampler: Sampler,
    tree: Tree,
    end: Node,
    cursor: int,
    patches: tuple[Patch, ...] = (),
    question: CausalQuestion = CausalQuestion(),
) -> Copy:
    """Copy a tree that belongs to no session; the returned function builds its record."""
    root, first_latest = tree.root, tree.root.latest
    states = [node.state() for node in tree.nodes.values() if not node.cut]

    def build(numbers: dict[Node, int] | None = None) -> Record:
        latest = {first_latest, *(each.latest for each in states)}
        children = dict[Node | None, list[NodeState]]()
        for each in states:
            children.setdefault(each.parent, []).append(each)
        rows, numbers = list[NodeRow](), {} if numbers is None else numbers
        numbers[root] = 0
        stack = [(0, group) for group in reversed(_equal_siblings(children.get(root, [])))]
        while stack:
            parent, group = stack.pop()
            at = group[0]
            on_path = any(each.node in latest for each in group)
            rows.append(NodeRow(parent, at.token, at.name, at.folded, on_path, at.text))
            number = len(rows)
            numbers |= {each.node: number for each in group}
            below = [child for each in group for child in children.get(each.node, [])]
            stack += [(number, group) for group in reversed(_equal_siblings(below))]
        return Record(model, sampler, tuple(rows), numbers[end], cursor, patches, question)

    return build


def _equal_siblings(states: list[NodeState]) -> list[list[NodeState]]:
    """The children of a node, with those together that are one in a file, as when one was put back."""
    if len(states) < 2:
        return [states] if states else []
    groups = dict[tuple[int, bool], list[NodeState]]()
    for each in states:
        groups.setdefault((each.token.id, each.token.origin == "prompt"), []).append(each)
    return list(groups.values())


def record_of(session: "Session") -> Record:
    """The record of a walk; it does not change when the walk goes on."""
    return copy(session)()
