"""Searches for likely continuations at the cursor of a walk."""

from collections.abc import Generator
from typing import TYPE_CHECKING

from core.search.search import search
from core.search.settings import Plan
from core.walk.search_tree import SearchTree
from core.walk.values import Forest, SamplingProgress, SearchStatus

if TYPE_CHECKING:
    from core.walk.session import Session


class Searches:
    """Runs searches in the walk of a session; the last one is shown with the branches."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._last: SearchTree | None = None

    def search(self, plan: Plan) -> Generator[SamplingProgress, None, None]:
        """Search at the cursor, into the tree; ended early, it keeps what it found.

        Raises `UserError` for a stop text that is not one token.
        """
        session, tokenizer = self._session, self._session.model.tokenizer
        stops = plan.stop_ids(tokenizer)
        reader = session.reader.continuations(session.cursor, plan.width)
        found = SearchTree(session.tree, session.history.current, tokenizer.piece, session.info, str(plan))
        self._last = found
        for state in found.follow(search(reader, plan, stops)):
            yield SamplingProgress(*state.progress)

    @property
    def status(self) -> SearchStatus | None:
        """The last search; None if there was none."""
        return self._last.status if self._last else None

    def forest(self, around: int) -> Forest:
        """The branches of the tree, up to `around` before and after the one at the cursor, and the last search."""
        forest, tree = self._session.history.forest(around), self._session.tree
        if self._last is None:
            return forest
        return self._last.in_forest(forest, lambda serial: tree.segment(tree.node(serial)))
