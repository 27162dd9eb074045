"""Where a walk stands in its tree, and the changes that can be undone. Knows token ids and no model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from core.errors import Action, UserError
from core.generation.token import Token
from core.language import _
from core.sampling.values import Score
from core.sequences import common_prefix
from core.walk.tree import Node, Tree
from core.walk.values import Forest


@dataclass(frozen=True, slots=True)
class WalkPosition:
    """A position in the tree: the last node of the path, and the cursor."""

    end: Node
    cursor: int
    """Tokens of the path before the point that is looked at."""


@dataclass(slots=True)
class Change:
    """One entry of the history, which `take_back` undoes."""

    before: WalkPosition
    after: WalkPosition
    visit: bool = False
    """Whether only the position changed."""
    replaced: dict[Node, tuple[Token, Token]] = field(default_factory=dict)
    """Existing nodes that got another token value of the same id: the one before and the one after."""
    turn: Node | None = None
    """The last node before a message that was written in a conversation; while it is written, it is one change."""
    deleted: Node | None = None
    """The first node of a branch that was deleted."""

    def without_scores(self) -> "Change":
        """The same change with tokens that no model has scored."""
        tokens = {n: (replace(old, score=None), replace(new, score=None)) for n, (old, new) in self.replaced.items()}
        return replace(self, replaced=tokens)


class History:
    """The path of a walk through its tree, the cursor on it, and the stacks of done and undone changes.

    After each move, `moved(kept, ids)` is called: the walk now consists of its first `kept` ids, followed by `ids`.
    """

    def __init__(self, tree: Tree, moved: Callable[[int, Sequence[int]], None]) -> None:
        self.tree = tree
        self.path: list[Node] = []
        """The nodes of the walk."""
        self.ids: list[int] = []
        self.tokens: list[Token] = []
        """Of the path, as are `ids`; both are changed in place."""
        self.cursor = 0
        self.prompt_length = 0
        """How many tokens at the start of the path belong to the prompt."""
        self.done: list[Change] = []
        self.undone: list[Change] = []
        self.left_behind = 0
        """How often the walk went on from before its end with another token than the one that stood there."""
        self._moved = moved

    @property
    def position(self) -> WalkPosition:
        """Where the walk stands."""
        return WalkPosition(self.path[-1] if self.path else self.tree.root, self.cursor)

    @property
    def current(self) -> Node:
        """The node of the token before the cursor."""
        return self.path[self.cursor - 1]

    # Moves that are not recorded -------------------------------------------------------------------------------------

    def travel(self, cursor: int) -> None:
        """Move the cursor along the path; a value beyond an end means that end."""
        self.cursor = max(1, min(cursor, len(self.tokens)))

    def stand(self, position: WalkPosition) -> None:
        """Move to a position of the tree."""
        self._go(self.tree.path(position.end), position.cursor)

    def write_prompt(self, kept: int, tokens: Sequence[Token], text: str | None) -> None:
        """Let the first `kept` tokens and `tokens`, typed as `text`, be the prompt and the walk; nothing can be undone.

        The cursor stands at its end. Nodes of the prompt before that only typing created are removed, unless it is a
        conversation that went on.
        """
        before = self.path if len(self.path) == self.prompt_length else []
        path = self._typed(self.path[:kept], tokens, text)
        self._go(path, len(path))
        self.refresh()
        self._forget_drafts(before, kept=path)
        self.done.clear()
        self.undone.clear()

    def go_on(self) -> None:
        """Let what followed the end of the walk, as it was taken last, follow it again."""
        path = self.tree.path(self.tree.end(self.path[-1]))
        self._go(path, len(path))

    def _typed(self, path: list[Node], tokens: Sequence[Token], text: str | None) -> list[Node]:
        """The path with nodes for typed tokens at its end, the last of which has the text."""
        for token in tokens:
            node = self.tree.child(path[-1] if path else self.tree.root, token)
            if node.token.role != token.role:  # the same token as before, in another chat template or in none
                self.tree.set_token(node, replace(node.token, role=token.role))
            path.append(node)
        path[-1].text = text
        self.tree.touch(path[-1])
        return path

    def _forget_drafts(self, before: Sequence[Node], kept: Sequence[Node]) -> None:
        """Remove the end of the path `before` as far as it was only typed on the way to the path `kept`."""
        for node in reversed(before[common_prefix(before, kept) :]):
            if node.children or node.name or node.token.origin != "prompt":
                break
            self.tree.forget(node)

    def continue_from(self, other: "History") -> None:
        """Take over the path and the recorded changes of another history of the same tree, without scores."""
        self._go(list(other.path), other.cursor)
        self.done, self.undone = list(other.done), list(other.undone)
        self.forget_scores_of_changes()

    # Recorded changes ------------------------------------------------------------------------------------------------

    def extend(self, at: int, token: Token) -> None:
        """Let `token` follow the first `at` tokens and end the walk."""
        change = Change(self.position, self.position)
        node = self.tree.child(self.path[at - 1], token)
        if node.token is not token:
            change.replaced[node] = node.token, token
            self.tree.set_token(node, token)
        if self.prompt_length <= at == self.cursor < len(self.path) and self.path[at] is not node:
            self.left_behind += 1
        self._go([*self.path[:at], node], at + 1)
        self._record(change)

    def write_turn(self, at: int, tokens: Sequence[Token], text: str) -> None:
        """Let a message `tokens`, typed as `text`, follow the first `at` tokens and end the walk; none removes it.

        While the same message is written, it stays one change.
        """
        base, before = self.path[at - 1], self.path
        last = self.done[-1] if self.done else None
        change = last if last and last.turn is base else Change(self.position, self.position, turn=base)
        path = self._typed(before[:at], tokens, text) if tokens else before[:at]
        self._go(path, len(path))
        self.refresh()
        self._forget_drafts(before, kept=path)
        if change is last:
            self.done.pop()
        if tokens:
            self._record(change)
        else:
            self.undone.clear()

    def visit(self, serial: int) -> None:
        """Walk to the end of a branch, along the path taken last. Raises `UserError` for a missing branch."""
        head, before = self.tree.node(serial), self.position
        self._enter(head)
        if self.done and self.done[-1].visit:  # several visits in a row are undone together
            self.done[-1].after = self.position
            self.undone.clear()
        else:
            self._record(Change(before, before, visit=True))

    def delete(self, serial: int) -> None:
        """Remove a branch and all that follows it. Raises `UserError` for the only branch of the tree."""
        head = self.tree.node(serial)
        parent = head.parent
        if parent is None or (parent is self.tree.root and len(parent.children) == 1):
            raise UserError(
                _("this is the only branch, so it cannot be deleted; {write} edits the prompt"),
                write=Action("walk.write"),
            )
        before = self.position
        if head in self.path:
            self.tree.cut(head)
            self.tree.set_latest(parent, None if parent.latest is head else parent.latest)
            if parent is self.tree.root:
                self._enter(next(iter(parent.children.values())))
            else:
                path = self.tree.path(parent)
                self._go(path, len(path))
        else:
            self.tree.cut(head)
        self._record(Change(before, before, deleted=head))

    def take_back(self) -> None:
        """Undo the last change. Raises `UserError` if there is none."""
        if not self.done:
            raise UserError(_("there is nothing to undo; {write} edits the prompt"), write=Action("walk.write"))
        change = self.done.pop()
        self.undone.append(change)
        for node, (before, _unused) in change.replaced.items():
            self.tree.set_token(node, before)
        if change.deleted:
            self.tree.put_back(change.deleted)
        self.stand(change.before)

    def redo(self) -> None:
        """Repeat the change that was undone last. Raises `UserError` if there is none."""
        if not self.undone:
            raise UserError(_("there is nothing to redo"))
        change = self.undone.pop()
        self.done.append(change)
        for node, (_unused, after) in change.replaced.items():
            self.tree.set_token(node, after)
        self.stand(change.after)
        if change.deleted:
            self.tree.cut(change.deleted)

    def _record(self, change: Change) -> None:
        change.after = self.position
        self.done.append(change)
        self.undone.clear()

    # Scores ----------------------------------------------------------------------------------------------------------

    def set_score(self, position: int, score: Score) -> None:
        """Give the token at `position` of the path its score."""
        self.tokens[position] = replace(self.tokens[position], score=score)
        self.tree.set_token(self.path[position], self.tokens[position])

    def forget_scores(self) -> None:
        """Remove the scores of all tokens of the tree and of the recorded changes."""
        self.tree.forget_scores()
        self.refresh()
        self.forget_scores_of_changes()

    def forget_scores_of_changes(self) -> None:
        """Remove the scores of the tokens in the recorded changes."""
        self.done = [change.without_scores() for change in self.done]
        self.undone = [change.without_scores() for change in self.undone]

    def refresh(self) -> None:
        """Read the tokens of the path again from its nodes, after these got other scores."""
        self.tokens[:] = [node.token for node in self.path]

    # The tree as a screen shows it -----------------------------------------------------------------------------------

    def forest(self, around: int = 200) -> Forest:
        """The branches of the tree, up to `around` before and after the one at the cursor."""
        return self.tree.forest(self.path, self.cursor, around)

    def branch(self, by: int = 0) -> int:
        """The serial number of the branch at the cursor, or of the one `by` rows further down in the forest."""
        return self.tree.beside(self.current, by).serial

    # Moving ----------------------------------------------------------------------------------------------------------

    def _enter(self, head: Node) -> None:
        """Move to the end of the branch that begins with `head`, along the path last taken through it."""
        last = self.tree.segment(head)[-1]
        self._go(self.tree.path(self.tree.end(last)), len(self.tree.path(last)))

    def _go(self, path: list[Node], cursor: int) -> None:
        """Let `path` be the walk. Ids that it shares with the walk before count as kept."""
        same = common_prefix(self.path, path)
        self.tree.visit(path, same)
        tokens = [node.token for node in path[same:]]
        ids = [token.id for token in tokens]
        kept = same + common_prefix(self.ids[same:], ids)
        self.ids[same:], self.tokens[same:] = ids, tokens
        if same:
            self.tokens[same - 1] = path[same - 1].token
        self.path, self.cursor = path, cursor
        self.prompt_length = self._count_prompt(min(self.prompt_length, same))
        self._moved(kept, self.ids[kept:])

    def _count_prompt(self, known: int) -> int:
        """How many tokens at the start of the walk belong to the prompt, of which `known` are known to."""
        while known < len(self.tokens) and self.tokens[known].origin == "prompt":
            known += 1
        return known
