"""The tiny world: the texts of `tiny.grammar`, their tokenizer, and the true distribution of the next token."""

import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files

from core.once import thread_safe_cache
from core.sequences import common_prefix
from core.tokenizers import builtin, prune
from core.tokenizers.tokenizer import Tokenizer
from core.world import grammar
from core.world.automaton import Automaton
from core.world.grammar import Belief, Grammar

NAME = "world"
"""Name of its tokenizer."""
START = "text"
"""The rule that a text begins with."""
MAX_LENGTH = 32
"""No text has more tokens."""


def _grammar_file() -> bytes:
    return files("core.world").joinpath("tiny.grammar").read_bytes()


def sha256() -> str:
    """The hash of the grammar's file, in hexadecimal digits."""
    return hashlib.sha256(_grammar_file()).hexdigest()


@thread_safe_cache
def rules() -> grammar.Rules:
    """The rules in `tiny.grammar`."""
    return grammar.parse(_grammar_file().decode())


@thread_safe_cache
def vocabulary() -> Tokenizer:
    """Its tokenizer: cl100k without the tokens that its texts do not need. The 256 bytes stay."""
    whole = builtin.cl100k()
    return prune.prune(whole, (id for word in grammar.terminals(rules(), START) for id in whole.encode(word)), NAME)


@thread_safe_cache
def tiny_grammar() -> Grammar:
    """The grammar over the token ids of `vocabulary`."""
    return Grammar(rules(), START, vocabulary().encode)


@thread_safe_cache
def automaton() -> Automaton:
    """The automaton of the grammar. The first call takes about a second."""
    return Automaton(tiny_grammar())


class TrueDistribution:
    """The true distribution of the next token after ids that may grow, shrink or change between two calls.

    Belief states of the ids before are kept, so only the ids after the common prefix are followed anew.
    """

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._beliefs: list[Belief] = [tiny_grammar().start]
        """The belief state before each id, and after the last."""

    def after(self, ids: Sequence[int]) -> dict[int, float] | None:
        """The probability of each id that can follow `ids`; None where the grammar cannot produce `ids`.

        A first `<|endoftext|>` is skipped.
        """
        ids = ids[1:] if ids and ids[0] == vocabulary().end_of_text else ids
        same = common_prefix(self._ids, ids)
        del self._ids[same:], self._beliefs[same + 1 :]
        for id in ids[same:]:
            if (transition := tiny_grammar().transitions(self._beliefs[-1]).get(id)) is None:
                return None
            self._ids.append(id)
            self._beliefs.append(transition.belief)
        return {id: float(each.probability) for id, each in tiny_grammar().transitions(self._beliefs[-1]).items()}


def texts(seed: int) -> Iterator[list[int]]:
    """Token ids of one text after the other, without end."""
    ids: list[int] = []
    for edge in automaton().sample(seed):
        ids.append(edge.token)
        if not edge.next_state:
            yield ids
            ids = []
