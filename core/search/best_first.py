"""The N likeliest answers, with a proof: best-first search over log-probabilities.

An answer is a continuation that ends with a stop token or has the wanted length. Each token's ln p is 0 or less, so the
log-probability of a beginning is a bound for all answers that begin so: an admissible bound (Hart, Nilsson & Raphael
1968, with heuristic 0). Once the N-th answer reaches the best bound of what waits, no other answer can be likelier.
"""

import bisect
import heapq
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from core.search import beam
from core.search.continuations import Reader
from core.search.path import Path
from core.search.settings import BeamSettings, BestSettings
from core.search.values import BestState, Reason

CHILDREN = 32
"""Continuations of a beginning that are kept one by one; the rest waits as one entry until its turn comes."""
DIVE = 4
"""Hypotheses at least of the beam search that finds the first answers."""


def search(reader: Reader, settings: BestSettings, stops: Collection[int]) -> Iterator[BestState]:
    """The state after each batch of distributions; the last one says why the search ended.

    A beam search goes first, so that there are answers early and what is less likely is never kept. Ending the iterator
    early keeps what the last state says: it is true at any time.
    """
    found = _Found(settings, stops)
    yield from found.dive(reader)
    frontier = _Frontier(settings.room)
    frontier.push(_Entry(0.0, 0, Path(), 0))
    reason: Reason = ""
    while not reason:
        batch = frontier.pop(min(reader.width, settings.nodes - found.expanded), found.threshold)
        if not batch:
            exhausted = settings.nodes <= found.expanded and frontier.head > found.threshold
            reason = "nodes" if exhausted else "proved" if frontier.bound <= found.threshold else "no room"
        else:
            distributions = reader.distributions([entry.path.ids for entry in batch])
            found.expanded += len(batch)
            for row, (entry, distribution) in enumerate(zip(batch, distributions, strict=True)):
                found.longest = max(found.longest, entry.path.length)
                for waiting in found.sort(entry, partial(reader.children, row, distribution)):
                    frontier.push(waiting)
            frontier.trim(found.threshold)
        yield replace(found.state(frontier), reason=reason)


class _Entry(NamedTuple):
    """What waits: the continuations of `path` by one token, after the first `skip` of them."""

    cost: float
    """Minus the log-probability that its answers can have at most."""
    number: int
    """Decides between equal costs."""
    path: Path
    skip: int


class _Found:
    """The best answers so far."""

    def __init__(self, settings: BestSettings, stops: Collection[int]) -> None:
        self._settings = settings
        self._stops = stops
        self._answers: list[tuple[float, tuple[int, ...], Path]] = []
        """Minus its log-probability, ids and path of each, likeliest first."""
        self.expanded = 0
        self.longest = 0

    @property
    def threshold(self) -> float:
        """The log-probability that an answer must exceed to be among the best."""
        full = len(self._answers) == self._settings.count
        return -self._answers[-1][0] if full else -math.inf

    def dive(self, reader: Reader) -> Iterator[BestState]:
        """First answers, by beam search."""
        width = min(reader.width, max(DIVE, self._settings.count))
        hypotheses = beam.Beam(BeamSettings(width, self._settings.length, 0.0, "never"), self._stops)
        while not hypotheses.reason and self.expanded + len(hypotheses.running) <= self._settings.nodes:
            hypotheses.step(reader)
            self.expanded = hypotheses.expanded
            for _, path in hypotheses.finished:
                self._offer(path)
            self.longest = max(self.longest, *(path.length for path in hypotheses.running), 0)
            yield self.state(None)

    def sort(self, entry: _Entry, children: Callable[[Path, int, int], list[Path]]) -> Iterator[_Entry]:
        """Keep the answers among the continuations of an entry; what still has to wait comes back.

        `children` gives those of a path: so many of the likeliest ones, after the first ones.
        """
        path, last = entry.path, entry.path.length + 1 == self._settings.length
        count = self._settings.count if last else CHILDREN
        following = children(path, count + 1, entry.skip)
        for child in following[:count]:
            if child.logprob <= self.threshold:
                return
            if last or child.id in self._stops:
                self._offer(child)
            else:
                yield _Entry(-child.logprob, 0, child, 0)
        if len(following) > count and not last:  # the last ones after `count` cannot be among the best
            yield _Entry(-following[count].logprob, 0, path, entry.skip + count)

    def _offer(self, path: Path) -> None:
        answer = -path.logprob, path.ids, path
        at = bisect.bisect_left(self._answers, answer[:2], key=lambda each: each[:2])
        if all(each[1] != answer[1] for each in self._answers):
            self._answers.insert(at, answer)
            del self._answers[self._settings.count :]

    def state(self, frontier: "_Frontier | None") -> BestState:
        """What is found and proved; without a frontier nothing is proved."""
        bound = 0.0 if frontier is None else frontier.bound
        return BestState(
            answers=tuple(path.answer(self._stops) for _, _, path in self._answers),
            wanted=self._settings.count,
            bound=None if bound == -math.inf else bound,
            expanded=self.expanded,
            budget=self._settings.nodes,
            open=len(frontier) if frontier else 1,
            longest=self.longest,
        )


class _Frontier:
    """The entries that wait, by the length of their path, so that one batch has one length."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._heaps: dict[int, list[_Entry]] = {}
        self._count = 0
        self._pushed = 0
        self._dropped = -math.inf
        """The largest bound of an entry that was dropped for want of room."""

    def __len__(self) -> int:
        return self._count

    @property
    def head(self) -> float:
        """The largest log-probability that an answer below a waiting entry can have; -inf without one."""
        return -min((heap[0].cost for heap in self._heaps.values() if heap), default=math.inf)

    @property
    def bound(self) -> float:
        """As `head`, with what was dropped."""
        return max(self.head, self._dropped)

    def push(self, entry: _Entry) -> None:
        """Let an entry wait."""
        self._pushed += 1
        self._count += 1
        heapq.heappush(self._heaps.setdefault(entry.path.length, []), entry._replace(number=self._pushed))

    def pop(self, most: int, threshold: float) -> Sequence[_Entry]:
        """The best entry, with others of its length, of those that can lead to an answer above `threshold`."""
        heap = min(filter(None, self._heaps.values()), key=lambda each: each[0].cost, default=[])
        batch = list[_Entry]()
        while heap and len(batch) < most and -heap[0].cost > threshold:
            batch.append(heapq.heappop(heap))
        self._count -= len(batch)
        return batch

    def trim(self, threshold: float) -> None:
        """Drop the worse half where there are too many entries, after those that cannot lead to a better answer."""
        if self._count <= self._room:
            return
        entries = sorted(e for heap in self._heaps.values() for e in heap if -e.cost > threshold)
        kept = entries if len(entries) <= self._room // 2 else entries[: self._room // 2]
        if len(kept) < len(entries):
            self._dropped = max(self._dropped, -entries[len(kept)].cost)
        self._heaps = {}
        self._count = 0
        for entry in kept:
            self.push(entry)
