"""A walk with its tree of branches as plain lists and full copies, to compare the real one with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Leaf = tuple[tuple[int, bool], ...]
"""A path from the root: ids, and whether each was written."""


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
