"""Beam search, step by step, as transformers does it (5.24, `GenerationMixin._beam_search`)."""

import heapq
from collections.abc import Collection, Iterator

from core.search.continuations import Reader
from core.search.path import Path
from core.search.settings import BeamSettings
from core.search.values import BeamState, Reason


def search(reader: Reader, settings: BeamSettings, stops: Collection[int]) -> Iterator[BeamState]:
    """The state after each step; the last one says why the search ended. A hypothesis is complete at an id of `stops`.

    Each step takes the likeliest continuations of the running hypotheses, (1 + stop ids) · width of them. Complete
    ones count if they are among the first `width`; of the others the first `width` go on. `reader` is at least as wide.
    """
    beam = Beam(settings, stops)
    while not beam.reason:
        beam.step(reader)
        yield beam.state()


class Beam:
    """The hypotheses of a beam search."""

    def __init__(self, settings: BeamSettings, stops: Collection[int]) -> None:
        self.settings = settings
        self.running = [Path()]
        """Hypotheses that go on, best first."""
        self.finished: list[tuple[float, Path]] = []
        """The best complete hypotheses with their scores, best first."""
        self.expanded = 0
        """Distributions that were computed."""
        self.reason: Reason = ""
        self._stops = stops
        self._length = 0

    def step(self, reader: Reader) -> None:
        """Continue the running hypotheses by one token."""
        settings, count = self.settings, max(2, 1 + len(self._stops)) * self.settings.width
        distributions = reader.distributions([path.ids for path in self.running])
        self.expanded += len(self.running)
        self._length += 1
        following = [
            child
            for row, (path, distribution) in enumerate(zip(self.running, distributions, strict=True))
            for child in reader.children(row, distribution, path, count)
        ]
        candidates = heapq.nsmallest(count, following, key=lambda path: -path.logprob)
        complete = {path for path in candidates if path.id in self._stops or self._length == settings.length}
        self.finished += [(self._score(path), path) for path in candidates[: settings.width] if path in complete]
        self.finished = sorted(self.finished, key=lambda each: -each[0])[: settings.width]
        self.running = [path for path in candidates if path not in complete][: settings.width]
        if not self.running or (self._full and settings.early_stopping == "yes") or not self._can_improve():
            self.reason = "finished"

    @property
    def _full(self) -> bool:
        return len(self.finished) == self.settings.width

    def _score(self, path: Path) -> float:
        return path.logprob / path.length**self.settings.length_penalty

    def _can_improve(self) -> bool:
        """Whether the best running hypothesis may still become better than the worst complete one."""
        settings = self.settings
        longest = settings.early_stopping == "never" and settings.length_penalty > 0
        length = settings.length if longest else self._length
        best = self.running[0].logprob / length**settings.length_penalty
        return not self._full or best > self.finished[-1][0]

    def state(self) -> BeamState:
        """The hypotheses as values."""
        return BeamState(
            step=self._length,
            most=self.settings.length,
            running=tuple(path.answer(self._stops) for path in self.running),
            finished=tuple(path.answer(self._stops, score) for score, path in self.finished),
            expanded=self.expanded,
            reason=self.reason,
        )
