"""A grammar as a probabilistic finite automaton: exact probabilities, samples, and the lowest losses that are possible.

Its states are the belief states of the grammar (`core.world.grammar`), so a state and the next token's distribution
depend on all tokens of the text so far. All texts are finite, and after each the automaton is in state 0 again. So the
expected number of visits to each state is an exact sum over a graph without cycles.
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

from core.world.grammar import Belief, Grammar, Transition


class Edge(NamedTuple):
    """One token that can follow in a state."""

    token: int
    probability: float
    """Its true probability there."""
    next_state: int
    """The state after it; 0 is the beginning of the next text."""
    label: str
    """The label of the token's place in the grammar; empty without one."""


@dataclass(frozen=True, slots=True)
class Floors:
    """Entropies of the next token given different knowledge, nats per token.

    No model that knows only so much can have a lower expected loss.
    """

    unigram: float
    """Given nothing: how often each token occurs."""
    last_token: float
    """Given the token before, all that models without attention see."""
    context: float
    """Given all of the text so far."""


class Automaton:
    """The states of a grammar. State 0 is the beginning of a text; a token id leads from state to state."""

    def __init__(self, grammar: Grammar) -> None:
        numbers: dict[Belief, int] = {grammar.start: 0}
        beliefs, self.edges = [grammar.start], list[tuple[Edge, ...]]()
        for belief in beliefs:  # grows while it is read, until every reachable state is in it
            self.edges.append(tuple(_edges(grammar.transitions(belief), numbers, beliefs)))
        self._floors: dict[str | None, Floors] = {}
        self.visits = self._expected_visits()
        """Expected number of visits to each state in one text."""

    def _expected_visits(self) -> list[float]:
        """Visits of each state, computed in topological order: after all states that lead to it."""
        missing = [0] * len(self.edges)  # edges into each state that are not added yet
        for edges in self.edges:
            for edge in edges:
                missing[edge.next_state] += 1
        visits = [1.0] + [0.0] * (len(self.edges) - 1)
        ready, missing[0] = [0], -1
        for state in ready:
            for edge in self.edges[state]:
                if edge.next_state:
                    visits[edge.next_state] += visits[state] * edge.probability
                    missing[edge.next_state] -= 1
                    if not missing[edge.next_state]:
                        ready.append(edge.next_state)
        return visits

    @cached_property
    def mean_length(self) -> float:
        """Expected number of tokens of a text."""
        return math.fsum(self.visits)

    @cached_property
    def bigrams(self) -> dict[tuple[int, int], float]:
        """p(token | token before) for each pair (token before, token), in an endless series of texts."""
        befores, pairs = defaultdict[int, float](float), defaultdict[tuple[int, int], float](float)
        for before, edge, visits in self._neighbors():
            befores[before.token] += visits * edge.probability
            pairs[before.token, edge.token] += visits * edge.probability
        return {pair: visits / befores[pair[0]] for pair, visits in pairs.items()}

    def _neighbors(self) -> Iterator[tuple[Edge, Edge, float]]:
        """Each edge, each edge that can follow it, and how often per text the first is taken (expected number)."""
        for state, edges in enumerate(self.edges):
            for before in edges:
                for edge in self.edges[before.next_state]:
                    yield before, edge, self.visits[state] * before.probability

    def floors(self, label: str | None = None) -> Floors:
        """The lowest possible losses over all tokens, or over the tokens with a label."""
        if label not in self._floors:
            self._floors[label] = self._entropies(label)
        return self._floors[label]

    def _entropies(self, label: str | None) -> Floors:
        """Exact entropies of an endless series of texts (Shannon 1948, §7)."""
        frequency, bigrams, length = defaultdict[int, float](float), self.bigrams, self.mean_length
        unigram, last_token, context, weights = list[float](), list[float](), list[float](), list[float]()
        for _, edge, visits in self._neighbors():
            frequency[edge.token] += visits * edge.probability / length
        for before, edge, visits in self._neighbors():
            if label is None or edge.label == label:
                weights.append(visits * edge.probability)
                unigram.append(-weights[-1] * math.log(frequency[edge.token]))
                last_token.append(-weights[-1] * math.log(bigrams[before.token, edge.token]))
                context.append(-weights[-1] * math.log(edge.probability))
        total = math.fsum(weights)
        return Floors(math.fsum(unigram) / total, math.fsum(last_token) / total, math.fsum(context) / total)

    def tokens_at(self, label: str) -> frozenset[int]:
        """The tokens that can have a label."""
        return frozenset(edge.token for edges in self.edges for edge in edges if edge.label == label)

    def labels(self) -> tuple[str, ...]:
        """All labels, in alphabetical order."""
        return tuple(sorted({edge.label for edges in self.edges for edge in edges} - {""}))

    def sample(self, seed: int) -> Iterator[Edge]:
        """Tokens of one text after the other, without end; the same ones for the same seed."""
        generator, state = random.Random(seed), 0
        cumulative = [tuple(accumulate(edge.probability for edge in edges)) for edges in self.edges]
        while True:
            edges = self.edges[state]
            edge = edges[min(bisect_right(cumulative[state], generator.random()), len(edges) - 1)]
            yield edge
            state = edge.next_state


def _edges(transitions: Mapping[int, Transition], numbers: dict[Belief, int], beliefs: list[Belief]) -> Iterator[Edge]:
    """The edges of a state; belief states that are new get the next numbers."""
    for token, transition in transitions.items():
        if transition.belief not in numbers:
            numbers[transition.belief] = len(beliefs)
            beliefs.append(transition.belief)
        yield Edge(token, float(transition.probability), numbers[transition.belief], transition.label)
