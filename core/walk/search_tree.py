"""A search whose hypotheses and answers are branches of the tree of a walk."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

from core.generation.token import Token
from core.loading.info import ModelInfo
from core.search.values import Answer, BeamState, BestState, State
from core.walk.tree import Node, Tree
from core.walk.values import Branch, Forest, SearchMark, SearchStatus


class SearchTree:
    """Puts what a search finds below the node `start`, and knows which branch is what.

    A beam search leaves the hypotheses that it dropped in the tree; of a search for the likeliest answers only these
    stay.
    """

    def __init__(self, tree: Tree, start: Node, piece: Callable[[int], bytes], info: ModelInfo, plan: str) -> None:
        self._tree = tree
        self._start = start
        self._piece = piece
        self._info = info
        self._plan = plan
        self._own: set[Node] = set()
        """The nodes that the search created."""
        self._ends: dict[tuple[int, ...], Node] = {}
        """The last node of each hypothesis and answer by its ids."""
        self._marks: dict[Node, SearchMark] = {}
        self._state: State | None = None

    def follow(self, states: Iterator[State]) -> Iterator[State]:
        """Pass the states of a search on, each after it is in the tree; one that is ended early counts as cancelled."""
        try:
            for state in states:
                self._grow(state)
                yield state
        finally:
            if self._state and not self._state.reason:
                self._state = replace(self._state, reason="cancelled")

    @property
    def status(self) -> SearchStatus | None:
        """How far it is; None before its first step."""
        return SearchStatus(self._plan, self._state) if self._state else None

    def _grow(self, state: State) -> None:
        self._state = state
        running = state.running if isinstance(state, BeamState) else ()
        ends = {answer.ids: self._plant(answer) for answer in (*state.answers, *running)}
        if isinstance(state, BestState):
            for ids in self._ends.keys() - ends.keys():
                self._remove(self._ends[ids], kept=ends.values())
        self._marks = {node: SearchMark("dropped", 0) for node in self._own if not node.children}
        self._marks |= {ends[each.ids]: SearchMark("running", rank) for rank, each in enumerate(running, start=1)}
        for rank, answer in enumerate(state.answers, start=1):
            self._marks[ends[answer.ids]] = SearchMark("answer", rank, rank <= state.proved)
        self._ends = ends

    def _plant(self, answer: Answer) -> Node:
        if answer.ids in self._ends:
            return self._ends[answer.ids]
        at = self._start
        for id, score in zip(answer.ids, answer.scores, strict=True):
            before = self._tree.last_serial
            at = self._tree.child(at, Token(id, self._piece(id), "chosen", score, model=self._info))
            if self._tree.last_serial > before:
                self._own.add(at)
        return at

    def _remove(self, node: Node, kept: Collection[Node]) -> None:
        """Remove a branch as far as the search made it and nothing follows it."""
        while node in self._own and node not in kept and not node.children and not node.name:
            self._own.discard(node)
            self._tree.forget(node)
            if node.parent is None:
                return
            node = node.parent

    def in_forest(self, forest: Forest, nodes: Callable[[int], Sequence[Node]]) -> Forest:
        """`forest` with the status of the search, and what each branch is in it; `nodes` gives those of a branch."""

        def marked(branch: Branch) -> Branch:
            mark = next((self._marks[node] for node in nodes(branch.serial) if node in self._marks), None)
            return replace(branch, mark=mark) if mark else branch

        return replace(forest, rows=tuple(map(marked, forest.rows)), search=self.status)
