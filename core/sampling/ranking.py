"""The order of tokens by their scores, and the mass of their first ones, with only as much sorting as a caller needs.

The order is the highest score first, and by index among equal scores. Rank 0 is the first token. All of it is NumPy,
whose calls have less overhead than those of torch for one token.
"""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

BUCKETS = 2048
"""Ranges of scores into which tokens are counted, so that only one range needs sorting."""
HEAD_RANGE, HEAD_LIMIT = 8.0, 4096
"""Tokens within so many nats of the highest are sorted in advance, if they are so few: most draws fall among them."""
LOWEST = 1e4
"""Scores so many nats below the highest count as equally low."""


def softmax(shifted: Any) -> Any:
    """Softmax of scores [n] whose highest is 0.

    `torch.softmax` sums with an error of up to 1e-5 for a large V.
    """
    powers = np.exp(shifted)
    powers /= powers.sum()
    return powers


class RankedToken(NamedTuple):
    """A token and its place in an order."""

    at: int
    """Its index into the scores."""
    rank: int
    """0 is the first token."""
    cumulative: float
    """The mass of all tokens up to and including it."""


class Ranking:
    """Scores [n] of tokens, float32 or float64: their softmax, its entropy, and the order of the tokens."""

    def __init__(self, scores: Any) -> None:
        self.scores = scores
        self.argmax = int(scores.argmax())  # the first of equal scores, or the first NaN
        """The index of the first token of the order."""
        self.highest = float(scores[self.argmax])
        """Its score."""
        self._cached_masses: tuple[Any, Any] | None = None

    @staticmethod
    def over(scores: Any) -> "Ranking":
        """The order by other scores [n]."""
        return Ranking(scores)

    def _shifted(self) -> Any:
        """Each score minus the highest, [n] float32."""
        with np.errstate(over="ignore", invalid="ignore"):
            return (self.scores - self.highest).astype(np.float32, copy=False)

    @cached_property
    def shares(self) -> Any:
        """softmax(scores), [n] float32."""
        return softmax(self._shifted())

    @cached_property
    def log_total(self) -> float:
        """log Σ exp(score), nats."""
        return self.highest - math.log(self.shares[self.argmax])

    @cached_property
    def entropy_nats(self) -> float:
        """H = -Σ p ln p of the softmax, in nats."""
        shifted = self._shifted()
        np.maximum(shifted, -LOWEST, out=shifted)  # 0 · -inf would be NaN
        shifted *= self.shares
        return max(0.0, -math.log(self.shares[self.argmax]) - float(shifted.sum()))

    def first(self, count: int) -> Any:
        """The indices of the first `count` tokens, in order, [count]."""
        if count == 1:
            return np.array([self.argmax])
        size = len(self.scores)
        count = min(count, size)
        if count <= len(self._head):
            return self._head[:count]
        bound = np.partition(self.scores, size - count)[size - count] if count < size else -math.inf
        return self._sorted(np.flatnonzero(self.scores >= bound))[:count]

    def first_mask(self, count: int) -> Any:
        """Which tokens are the first `count`, [n] bool. Nothing is sorted beyond the head."""
        size = len(self.scores)
        if count >= size:
            return np.ones(size, dtype=bool)
        if count <= len(self._head):
            return self.up_to(int(self._head[count - 1]))
        bound = np.partition(self.scores, size - count)[size - count]
        mask = self.scores > bound
        equal = np.flatnonzero(self.scores == bound)
        mask[equal[: count - np.count_nonzero(mask)]] = True
        return mask

    def up_to(self, index: int) -> Any:
        """Which tokens come before one in the order, or are it, [n] bool."""
        own = self.scores[index]
        mask = self.scores > own
        mask[: index + 1] |= self.scores[: index + 1] == own
        return mask

    def rank(self, index: int) -> int:
        """The rank of a token."""
        own = self.scores[index]
        if own == self.highest and index == self.argmax:
            return 0
        return int(np.count_nonzero(self.scores > own)) + int(np.count_nonzero(self.scores[:index] == own))

    def at_mass(self, target: float, weights: Any = None, *, reached: bool = False) -> RankedToken:
        """The first token where the cumulative mass exceeds `target`, or with `reached` equals it.

        The mass is that of the softmax, or of other `weights` [n] float32 in the same order. A target beyond the whole
        mass gives the last token with mass.
        """
        weights = self.shares if weights is None else weights
        masses = np.cumsum(weights[self._head], dtype=np.float64)
        if not len(masses) or masses[-1] <= target:
            return self._at_mass_by_buckets(weights, target, reached=reached)
        index = int(np.searchsorted(masses, target, "left" if reached else "right"))
        return RankedToken(int(self._head[index]), index, float(masses[index]))

    def at_rank(self, rank: int, weights: Any = None) -> RankedToken:
        """The token of a rank, with the cumulative mass of the softmax or of other `weights` [n]."""
        weights = self.shares if weights is None else weights
        if rank >= len(self._head):
            return self._at_rank_by_buckets(weights, rank)
        masses = np.cumsum(weights[self._head[: rank + 1]], dtype=np.float64)
        return RankedToken(int(self._head[rank]), rank, float(masses[rank]))

    @cached_property
    def _head(self) -> Any:
        """The indices of the tokens within `HEAD_RANGE`, in order; empty if there are more than `HEAD_LIMIT`."""
        indices = np.flatnonzero(self.scores >= self.highest - HEAD_RANGE)
        return self._sorted(indices) if len(indices) <= HEAD_LIMIT else indices[:0]

    def _sorted(self, indices: Any) -> Any:
        """Ascending `indices` in the order of the scores."""
        return indices[np.argsort(-self.scores[indices], kind="stable")]

    def _at_mass_by_buckets(self, weights: Any, target: float, *, reached: bool) -> RankedToken:
        cumulative = self._cumulative(weights)
        target = min(target, math.nextafter(float(cumulative[-1]), 0.0))

        def first(masses: Any) -> int:
            wanted = np.searchsorted(masses, target, "left" if reached else "right")
            return int(min(wanted, np.searchsorted(masses, masses[-1])))  # rounding: at most the last with mass

        return self._in_bucket(first(cumulative), weights, cumulative, first)

    def _at_rank_by_buckets(self, weights: Any, rank: int) -> RankedToken:
        counts = self._buckets[1]
        bucket = int(np.searchsorted(counts, rank, "right"))
        before = int(counts[bucket - 1]) if bucket else 0
        return self._in_bucket(bucket, weights, self._cumulative(weights), lambda _: rank - before)

    @cached_property
    def _buckets(self) -> tuple[Any, Any]:
        """The bucket of each token, [n], by descending score; and the cumulative count of tokens by bucket."""
        below = self.highest - np.maximum(self.scores, self.highest - LOWEST)
        span = float(below.max())
        bucket = (below * ((BUCKETS - 1) / max(span, 1e-30))).astype(np.int64)
        return bucket, np.cumsum(np.bincount(bucket, minlength=BUCKETS))

    def _cumulative(self, weights: Any) -> Any:
        """The cumulative mass of `weights` by bucket, float64; cached for the last `weights`."""
        if self._cached_masses is None or self._cached_masses[0] is not weights:
            masses = np.cumsum(np.bincount(self._buckets[0], weights=weights, minlength=BUCKETS))
            self._cached_masses = weights, masses
        return self._cached_masses[1]

    def _in_bucket(self, bucket: int, weights: Any, cumulative: Any, find: Callable[[Any], int]) -> RankedToken:
        """Sort one bucket and return the token whose index `find` gives for the cumulative masses in it."""
        buckets, counts = self._buckets
        indices = self._sorted(np.flatnonzero(buckets == bucket))
        before = float(cumulative[bucket - 1]) if bucket else 0.0
        masses = before + np.cumsum(weights[indices], dtype=np.float64)
        at = min(find(masses), len(indices) - 1)
        rank = (int(counts[bucket - 1]) if bucket else 0) + at
        return RankedToken(int(indices[at]), rank, float(masses[at]))
