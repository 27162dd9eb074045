"""A next-token distribution of which only the likeliest tokens are known, as an engine elsewhere tells it.

Of the other V - k tokens their mass is known, 1 - Σ p, and that none of them is likelier than the last one that is
known. What follows from that is exact or bounded, never estimated.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from core.errors import UserError
from core.language import _
from core.sampling.bounds import Bounded, Bounds, between
from core.sampling.distribution import Distribution
from core.sampling.next_distribution import NextDistribution
from core.sampling.partial_selection import PartialSelection
from core.sampling.tail import Tail, entropy_of_rest
from core.sampling.values import Score

TOLERANCE = 1e-3
"""By how much a sum of probabilities may exceed 1."""
ROUNDING = 3e-4
"""The error that the sum of an engine's float32 probabilities may have: over 49,152 tokens those of vLLM add up to
1.000007, those of llama-server to 1.0002."""


def next_distribution(
    ids: Sequence[int], logprobs: Sequence[float], vocab_size: int, error: float = 0.0
) -> NextDistribution:
    """The distribution that has these log-probabilities (nats): a `Distribution` if they are those of all V tokens.

    Raises `UserError` for log-probabilities that no distribution has.
    """
    if len(ids) != vocab_size:
        return PartialDistribution(ids, logprobs, vocab_size, error)
    given, numbers = np.asarray(ids, dtype=np.int64), np.asarray(logprobs, dtype=np.float64)
    _check(given, numbers, vocab_size)
    logits = np.empty(vocab_size, dtype=np.float32)
    logits[given] = numbers
    return Distribution(torch.from_numpy(logits), from_logprobs=True)


class PartialDistribution:
    """The `ids` [k] of the likeliest tokens of a distribution over V, and their `logprobs` [k], ln p, in any order.

    A mass that exceeds 1 by at most `TOLERANCE` is normalised. Raises `UserError` for log-probabilities that are not
    numbers, for a mass that is larger, and for one so small that the other tokens, none of them likelier, cannot have
    the rest.

    `error` is by how much the engine's rounding may make all probabilities too large, as a share of them.
    """

    from_logprobs = True

    def __init__(self, ids: Sequence[int], logprobs: Sequence[float], vocab_size: int, error: float = 0.0) -> None:
        given, numbers = np.asarray(ids, dtype=np.int64), np.asarray(logprobs, dtype=np.float64)
        _check(given, numbers, vocab_size)
        if len(given) == vocab_size:
            raise UserError(_("the distribution is known for all tokens; use `next_distribution`"))
        order = np.lexsort((given, -numbers))
        self.ids = given[order]
        """[k], likeliest first."""
        self.logprobs = numbers[order]
        """ln p, [k] float64."""
        mass = math.fsum(np.exp(self.logprobs).tolist())
        if mass > 1:
            self.logprobs = self.logprobs - math.log(mass)
        self.vocab_size, self._excess = vocab_size, error
        self.probabilities = np.exp(self.logprobs)
        """[k], float64."""
        self.rest = max(0.0, 1.0 - mass)
        """The mass of the tokens that are not known."""
        self.others = vocab_size - len(given)
        """How many those are."""
        self._error = max(ROUNDING, mass - 1)
        self.highest = min(float(self.probabilities[-1]), self.rest + self._error)
        """No token that is not known is likelier."""
        if self.rest > self.others * self.highest + TOLERANCE:
            raise UserError(
                _(
                    "the {count:,} probabilities sum to {mass:.6g}, and the other {others:,} tokens, each at most "
                    "{least:.3g}, cannot fill the rest; this is not a distribution"
                ),
                count=len(given),
                mass=mass,
                others=self.others,
                least=self.probabilities[-1],
            )

    @cached_property
    def rounded(self) -> "PartialDistribution | None":
        """The distribution if all its probabilities are too large by the engine's error; None without such an error."""
        if not self._excess:
            return None
        logprobs: Any = self.logprobs - math.log1p(self._excess)
        ids: Any = self.ids
        return PartialDistribution(ids, logprobs, self.vocab_size)

    @property
    def known(self) -> int:
        """k."""
        return len(self.ids)

    @property
    def argmax(self) -> int:
        """The id of the likeliest token."""
        return int(self.ids[0])

    @cached_property
    def entropy_bits(self) -> Bounded:
        """H: the rest of the mass is on as few tokens as possible, or evenly on all."""
        positive = self.probabilities[self.probabilities > 0]
        own = max(0.0, -float((positive * np.log(positive)).sum()))
        least, most = entropy_of_rest(self.rest, self.others, self.highest)
        return between((own + least) / math.log(2), (own + most) / math.log(2))

    def first(self, count: int) -> Any:
        """The ids of the `count` likeliest tokens, in order, as far as they are known."""
        return self.ids[:count]

    def id_at(self, rank: int) -> int | None:
        """The token of a rank; None where it is not known."""
        return int(self.ids[rank]) if rank < self._certain else None

    def rank(self, id: int) -> Bounded:
        """The place of a token in the order, from 0; at least so many come before one that is not known."""
        at = self._at(id)
        return Bounds(self._certain, math.inf) if at is None else at

    @cached_property
    def _certain(self) -> int:
        """How many of the known tokens certainly come before all others."""
        return int(np.count_nonzero(self.probabilities > self.highest))

    def margin(self) -> Bounded:
        """The probability of the likeliest token minus that of the second."""
        first = float(self.probabilities[0])
        if self.known > 1:
            return first - float(self.probabilities[1])
        return between(first - min(self.highest, self.rest), first - self.rest / self.others)

    def score(self, id: int) -> Score:
        """Log-probability, entropy and rank for `id` as the next token; bounds where it is not known."""
        at = self._at(id)
        if at is None:
            bound = between(-math.inf, math.log(self.highest) if self.highest > 0 else -math.inf)
            return Score(bound, bound, self.entropy_bits, Bounds(self._certain, math.inf), self.known)
        logprob = float(self.logprobs[at])
        rank = int(np.count_nonzero(self.logprobs > logprob))
        return Score(logprob, logprob, self.entropy_bits, rank, self.known)

    def logits_of(self, ids: Sequence[int]) -> list[float]:
        """The log-probabilities of known tokens."""
        return [float(self.logprobs[self._known_at(id)]) for id in ids]

    def probabilities_of(self, ids: Sequence[int]) -> list[float]:
        """The probabilities of known tokens."""
        return [float(self.probabilities[self._known_at(id)]) for id in ids]

    def mass_count(self, share: float) -> Bounded:
        """How many of the likeliest tokens together have at least the probability `share`."""
        masses = np.cumsum(self.probabilities)
        at = int(np.searchsorted(masses, share))
        if at < self.known:
            return at + 1
        missing = share - float(masses[-1])
        least = math.ceil(missing / self.highest) if self.highest > 0 else self.others
        most = math.ceil(missing / self.rest * self.others) if self.rest > 0 else self.others
        return Bounds(self.known + min(least, self.others), self.known + min(max(least, most), self.others))

    def selected(self) -> PartialSelection:
        """All tokens, from which the stages of a sampler select."""
        ascending = np.argsort(self.ids)
        ids = self.ids[ascending]
        mass, highest = (math.log(each) if each > 0 else -math.inf for each in (self.rest, self.highest))
        tail = Tail(self.others, self.others, mass, mass, highest, ids, error=math.log(self._error))
        return PartialSelection(ids, self.logprobs[ascending], tail, self.known, self.vocab_size)

    @cached_property
    def _places(self) -> dict[int, int]:
        return {id: at for at, id in enumerate(self.ids.tolist())}

    def _at(self, id: int) -> int | None:
        if not 0 <= id < self.vocab_size:
            raise IndexError(f"id {id} of {self.vocab_size}")
        return self._places.get(id)

    def _known_at(self, id: int) -> int:
        return self._places[id]


def _check(ids: Any, logprobs: Any, vocab_size: int) -> None:
    """Raise `UserError` for what is no part of a distribution."""
    if len(ids) != len(logprobs) or not 1 <= len(ids) <= vocab_size:
        raise UserError(
            _("there are {ids:,} ids but {logprobs:,} log-probabilities (V = {vocab_size:,})"),
            ids=len(ids),
            logprobs=len(logprobs),
            vocab_size=vocab_size,
        )
    if ids.min() < 0 or ids.max() >= vocab_size or np.bincount(ids).max() > 1:
        raise UserError(
            _("the ids of a distribution must differ and be below {vocab_size:,}, the size of the vocabulary"),
            vocab_size=vocab_size,
        )
    if not (logprobs <= TOLERANCE).all() or not logprobs.max() > -math.inf:
        raise UserError(_("log-probabilities must be at most 0, and at least one must be finite"))
    if (mass := float(np.exp(logprobs).sum())) > 1 + TOLERANCE:
        raise UserError(_("the probabilities sum to {mass:.6g}; the sum of a distribution is at most 1"), mass=mass)
