"""Owns the tiny world: what is said there, in which tokens, and with which probability after any beginning."""

import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files

from core.once import thread_safe_cache
from core.sequences import common_prefix
from core.tokenizers import builtin, prune
from core.tokenizers.tokenizer import Tokenizer
from core.world import grammar
from core.world.grammar import Belief, Grammar
from core.world.machine import Machine

NAME = "world"
"""Of its vocabulary."""
START = "text"
LONGEST = 32
"""No text has more tokens."""


def _written() -> bytes:
    return files("core.world").joinpath("tiny.grammar").read_bytes()


def sha256() -> str:
    """Of the grammar as it is written."""
    return hashlib.sha256(_written()).hexdigest()


@thread_safe_cache
def rules() -> grammar.Rules:
    """The grammar as it is written in `tiny.grammar`."""
    return grammar.parse(_written().decode())


@thread_safe_cache
def vocabulary() -> Tokenizer:
    """The vocabulary: the 256 bytes and the tokens of cl100k that the tiny world uses."""
    whole = builtin.cl100k()
    return prune.prune(whole, (id for word in grammar.words(rules(), START) for id in whole.encode(word)), NAME)


@thread_safe_cache
def world() -> Grammar:
    """The grammar over the ids of its vocabulary."""
    return Grammar(rules(), START, vocabulary().encode)


@thread_safe_cache
def machine() -> Machine:
    """All that can be said, and how often: takes about a second."""
    return Machine(world())


class TrueDistribution:
    """The true distribution of what comes next after ids that may grow, shrink and change."""

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._beliefs: list[Belief] = [world().start]

    def after(self, ids: Sequence[int]) -> dict[int, float] | None:
        """The probability of each id that may come after `ids`; None where the tiny world never says them.

        They may begin with `<|endoftext|>`, which says nothing.
        """
        ids = ids[1:] if ids and ids[0] == vocabulary().end_of_text else ids
        same = common_prefix(self._ids, ids)
        del self._ids[same:], self._beliefs[same + 1 :]
        for id in ids[same:]:
            if (found := world().ahead(self._beliefs[-1]).get(id)) is None:
                return None
            self._ids.append(id)
            self._beliefs.append(found.belief)
        return {id: float(each.share) for id, each in world().ahead(self._beliefs[-1]).items()}


def texts(seed: int) -> Iterator[list[int]]:
    """The ids of one text after the other, without end."""
    ids: list[int] = []
    for edge in machine().run(seed):
        ids.append(edge.token)
        if not edge.after:
            yield ids
            ids = []
