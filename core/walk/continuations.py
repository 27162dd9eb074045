"""Several continuations at the cursor of a walk, sampled as one batch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.generation.batch import sampled_token
from core.walk.continuation_tree import merged
from core.walk.tree import Node
from core.walk.values import ContinuationTree, SamplingProgress

if TYPE_CHECKING:
    from core.walk.session import Session


class Continuations:
    """Samples continuations into the tree of a session's walk; the last ones can be seen together."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._last: tuple[Node, list[Node]] | None = None
        """Where the last continuations start, and where each ends."""

    def sample(self, samples: int, count: int) -> Iterator[SamplingProgress]:
        """Sample `samples` continuations of `count` tokens at the cursor, as one batch, into the tree.

        Continuation i draws with seed + i, so the first equals what `Session.generate` would draw.
        """
        session = self._session
        before, prompt_length = session.before_cursor()
        batch = session.reader.batch(before, prompt_length, session.sampler, samples)
        ends = [session.history.current] * samples
        self._last = ends[0], ends
        for done in range(count):
            for row, drawn in enumerate(batch.step()):
                if drawn:
                    piece = session.model.tokenizer.piece(drawn.id)
                    token = sampled_token(drawn, piece, batch.samplers[row], session.info)
                    ends[row] = session.tree.child(ends[row], token)
            yield SamplingProgress(done + 1, count)
            if not any(batch.running):
                return

    def tree(self) -> ContinuationTree:
        """The last continuations, one by one and merged where they begin alike; empty if there were none."""
        return merged(*self._last) if self._last else ContinuationTree((), ())
