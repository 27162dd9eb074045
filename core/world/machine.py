"""Owns a grammar as a machine of numbered states: unlimited text, and the exact floors no model can go below.

A state is all that the text so far says of what comes. A text always ends, and each begins anew, so the machine is run
through once: how often each state is met in a text is an exact sum.
"""

import math
import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from core.world.grammar import Ahead, Belief, Grammar


class Edge(NamedTuple):
    """One token that may come in a state."""

    token: int
    share: float
    """Its true probability there."""
    after: int
    """The state it leads to; 0 begins the next text."""
    label: str


@dataclass(frozen=True, slots=True)
class Floors:
    """The lowest mean loss a model can have that knows no more than is named, nats a token."""

    unigram: float
    """How often each token is said: its entropy."""
    last_token: float
    """The token before: what models without attention can know."""
    context: float
    """All of the text so far."""


class Machine:
    """The states of a grammar, the first of which begins a text."""

    def __init__(self, grammar: Grammar) -> None:
        numbers: dict[Belief, int] = {grammar.start: 0}
        beliefs, self.edges = [grammar.start], list[tuple[Edge, ...]]()
        for belief in beliefs:
            self.edges.append(tuple(_edges(grammar.ahead(belief), numbers, beliefs)))
        self._floors: dict[str | None, Floors] = {}
        self.visits = self._count()
        """How often each state is met in a text, on average."""

    def _count(self) -> list[float]:
        """Each state after all that lead to it."""
        waiting = [0] * len(self.edges)
        for edges in self.edges:
            for edge in edges:
                waiting[edge.after] += 1
        visits = [1.0] + [0.0] * (len(self.edges) - 1)
        ready, waiting[0] = [0], -1
        for state in ready:
            for edge in self.edges[state]:
                if edge.after:
                    visits[edge.after] += visits[state] * edge.share
                    waiting[edge.after] -= 1
                    if not waiting[edge.after]:
                        ready.append(edge.after)
        return visits

    @cached_property
    def length(self) -> float:
        """Tokens of a text, on average."""
        return math.fsum(self.visits)

    @cached_property
    def pairs(self) -> dict[tuple[int, int], float]:
        """The probability of each token after each that may come right before it, over all of a long text."""
        met, pairs = defaultdict[int, float](float), defaultdict[tuple[int, int], float](float)
        for before, after, share in self._neighbours():
            met[before.token] += share * after.share
            pairs[before.token, after.token] += share * after.share
        return {pair: share / met[pair[0]] for pair, share in pairs.items()}

    def _neighbours(self) -> Iterator[tuple[Edge, Edge, float]]:
        """Each token, one that may follow it, and how often the first is met there in a text."""
        for state, edges in enumerate(self.edges):
            for edge in edges:
                for after in self.edges[edge.after]:
                    yield edge, after, self.visits[state] * edge.share

    def floors(self, label: str | None = None) -> Floors:
        """Of all tokens, or of those at places of a label."""
        if label not in self._floors:
            self._floors[label] = self._entropies(label)
        return self._floors[label]

    def _entropies(self, label: str | None) -> Floors:
        """Exact entropies in the long run (Shannon 1948, §7)."""
        often, pairs, length = defaultdict[int, float](float), self.pairs, self.length
        unigram, last_token, context, total = list[float](), list[float](), list[float](), list[float]()
        for _, after, share in self._neighbours():
            often[after.token] += share * after.share / length
        for before, after, share in self._neighbours():
            if label is None or after.label == label:
                total.append(share * after.share)
                unigram.append(-total[-1] * math.log(often[after.token]))
                last_token.append(-total[-1] * math.log(pairs[before.token, after.token]))
                context.append(-total[-1] * math.log(after.share))
        known = math.fsum(total)
        return Floors(math.fsum(unigram) / known, math.fsum(last_token) / known, math.fsum(context) / known)

    def said_at(self, label: str) -> frozenset[int]:
        """The tokens that are said at places of a label."""
        return frozenset(edge.token for edges in self.edges for edge in edges if edge.label == label)

    def labels(self) -> tuple[str, ...]:
        """The labels of places."""
        return tuple(sorted({edge.label for edges in self.edges for edge in edges} - {""}))

    def run(self, seed: int) -> Iterator[Edge]:
        """Tokens without end, of one text after the other."""
        numbers, state = random.Random(seed), 0
        through = [tuple(accumulate(edge.share for edge in edges)) for edges in self.edges]
        while True:
            edges = self.edges[state]
            edge = edges[min(bisect_right(through[state], numbers.random()), len(edges) - 1)]
            yield edge
            state = edge.after


def _edges(ahead: Mapping[int, Ahead], numbers: dict[Belief, int], beliefs: list[Belief]) -> Iterator[Edge]:
    for token, next in ahead.items():
        if next.belief not in numbers:
            numbers[next.belief] = len(beliefs)
            beliefs.append(next.belief)
        yield Edge(token, float(next.share), numbers[next.belief], next.label)
