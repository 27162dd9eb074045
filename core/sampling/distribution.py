"""The next-token distribution at one position, in float32 on the CPU, and the order of its tokens.

The order is likeliest first, and by id among equal logits; no temperature changes it. Rank 0 is the likeliest token.
Every cut keeps the first tokens of this order, so a count and a mass describe what is kept, and only as many tokens are
sorted as a caller asks for. Temperature is applied before the cuts as in transformers (5.23, `_get_logits_processor`),
or after them as in llama.cpp (`--samplers`, by default …;top_k;typ_p;top_p;min_p;xtc;temperature).
"""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.engine import threads
from core.errors import UserError
from core.sampling.values import Score

BUCKETS = 2048
"""Ranges of logits into which tokens are counted, so that only one range needs sorting."""
HEAD_RANGE, HEAD_LIMIT = 8.0, 4096
"""Tokens within so many nats of the argmax are sorted in advance, if they are so few: most draws fall among them."""


def softmax(shifted: Any) -> Any:
    """Softmax of NumPy logits [V] whose highest is 0.

    `torch.softmax` sums with an error of up to 1e-5 for a large V.
    """
    powers = np.exp(shifted)
    powers /= powers.sum()
    return powers


class RankedToken(NamedTuple):
    """A token and its place in the order of the distribution."""

    id: int
    rank: int
    """0 is the likeliest token."""
    cumulative: float
    """The mass of all tokens up to and including it."""


class Distribution:
    """The next-token distribution of a model at one position.

    `logits` is [V] of any float dtype on any device. Raises `UserError` for a logit that is NaN or +inf.
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits.detach().to("cpu", torch.float32)
        """[V], float32, CPU."""
        self._logits = self.logits.numpy()
        """The same memory as NumPy, whose calls have less overhead for one token."""
        self.argmax = int(self._logits.argmax())  # the first of equal logits, or the first NaN
        """The id of the likeliest token."""
        self.highest = float(self._logits[self.argmax])
        """Its logit."""
        if not math.isfinite(self.highest):
            raise UserError("the model's logits are not finite numbers; its weights or this dtype are at fault")
        shifted = self._shifted()
        shares = softmax(shifted)
        self.probabilities = torch.from_numpy(shares)
        """softmax(logits), [V]."""
        nats = -math.log(shares[self.argmax])
        self.log_total = self.highest + nats
        """log Σ exp(logit), nats."""
        np.maximum(shifted, -1e4, out=shifted)  # 0 · -inf would be NaN
        shifted *= shares
        self.entropy_bits = max(0.0, (nats - float(shifted.sum())) / math.log(2))
        """H = -Σ p log2 p, in bits."""
        self._tempered = (1.0, self.probabilities)
        self._buckets: tuple[Tensor, Tensor] | None = None
        self._cached_masses: tuple[Tensor, Tensor] | None = None

    def _shifted(self) -> Any:
        """Each logit minus the highest, [V] NumPy."""
        with np.errstate(over="ignore"):
            return self._logits - self.highest

    def tempered(self, temperature: float) -> Tensor:
        """softmax(logits / T), [V]; all mass on the argmax for T = 0."""
        if self._tempered[0] != temperature:
            if temperature == 0:
                shares = np.zeros_like(self._logits)
                shares[self.argmax] = 1
            else:
                shifted = self._shifted()
                with np.errstate(over="ignore"):
                    shifted /= min(max(temperature, 1e-30), 1e30)
                shares = softmax(shifted)
            self._tempered = (temperature, torch.from_numpy(shares))
        return self._tempered[1]

    def margin(self) -> float:
        """The probability of the likeliest token minus that of the second."""
        first, second = [*self.probabilities[self.head(2)].tolist(), 0.0][:2]
        return first - second

    def score(self, id: int) -> Score:
        """Logit, log-probability, entropy and rank for `id` as the next token."""
        logit = float(self._logits[id])
        rank = int(np.count_nonzero(self._logits > logit)) if logit < self.highest else 0
        return Score(logit, logit - self.log_total, self.entropy_bits, rank)

    def head(self, count: int) -> Tensor:
        """The ids of the `count` likeliest tokens, in order."""
        if count == 1:
            return torch.tensor([self.argmax])
        count = min(count, len(self.logits))
        if count <= len(self._head):
            return torch.from_numpy(self._head[:count])
        ids = (self.logits >= self.logits.topk(max(1, count)).values[-1]).nonzero()[:, 0]
        return self._sorted(ids)[:count]

    @cached_property
    def _head(self) -> Any:
        """The ids of the tokens within `HEAD_RANGE`, in order, [n] NumPy; empty if there are more than `HEAD_LIMIT`."""
        ids = np.flatnonzero(self._logits >= self.highest - HEAD_RANGE)
        return ids[np.argsort(-self._logits[ids], kind="stable")] if len(ids) <= HEAD_LIMIT else ids[:0]

    def at_mass(self, weights: Tensor, target: float, *, reached: bool = False) -> RankedToken:
        """The first token where the cumulative mass of `weights` [V] exceeds `target`, or with `reached` equals it."""
        masses = np.cumsum(weights.numpy()[self._head], dtype=np.float64)
        if not len(masses) or masses[-1] <= target:
            return self._at_mass_by_buckets(weights, target, reached=reached)
        index = int(np.searchsorted(masses, target, "left" if reached else "right"))
        return RankedToken(int(self._head[index]), index, float(masses[index]))

    def at_rank(self, weights: Tensor, rank: int) -> RankedToken:
        """The token of a rank, with the cumulative mass of `weights` [V]."""
        if rank >= len(self._head):
            return self._at_rank_by_buckets(weights, rank)
        masses = np.cumsum(weights.numpy()[self._head[: rank + 1]], dtype=np.float64)
        return RankedToken(int(self._head[rank]), rank, float(masses[rank]))

    @threads.single_thread()
    def _at_mass_by_buckets(self, weights: Tensor, target: float, *, reached: bool) -> RankedToken:
        cumulative = self._cumulative(weights)
        target = min(target, math.nextafter(cumulative[-1].item(), 0.0))

        def first(masses: Tensor) -> int:
            wanted = torch.searchsorted(masses, target, right=not reached)
            return int(min(wanted, torch.searchsorted(masses, masses[-1])))  # rounding: at most the last with mass

        return self._in_bucket(first(cumulative), weights, cumulative, first)

    @threads.single_thread()
    def _at_rank_by_buckets(self, weights: Tensor, rank: int) -> RankedToken:
        _, counts = self._bucket_order()
        bucket = int(torch.searchsorted(counts, rank, right=True))
        before = counts[bucket - 1].item() if bucket else 0
        return self._in_bucket(bucket, weights, self._cumulative(weights), lambda _: int(rank - before))

    def _bucket_order(self) -> tuple[Tensor, Tensor]:
        """The bucket of each token, [V], by descending logit; and the cumulative count of tokens by bucket."""
        if self._buckets is None:
            finite = self.logits.clamp(min=self.highest - 1e4)
            span = self.highest - finite.min().item()
            bucket = ((self.highest - finite) * ((BUCKETS - 1) / max(span, 1e-30))).to(torch.int64)
            self._buckets = bucket, torch.bincount(bucket, minlength=BUCKETS).cumsum(0)
        return self._buckets

    def _cumulative(self, weights: Tensor) -> Tensor:
        """The cumulative mass of `weights` by bucket, float64; cached for the last `weights`."""
        if self._cached_masses is None or self._cached_masses[0] is not weights:
            masses = torch.bincount(self._bucket_order()[0], weights=weights.double(), minlength=BUCKETS).cumsum(0)
            self._cached_masses = weights, masses
        return self._cached_masses[1]

    def _sorted(self, ids: Tensor) -> Tensor:
        """Ascending `ids` in the order of the distribution."""
        return ids[self.logits[ids].sort(descending=True, stable=True).indices]

    def _in_bucket(
        self, bucket: int, weights: Tensor, cumulative: Tensor, find: Callable[[Tensor], int]
    ) -> RankedToken:
        """Sort one bucket and return the token whose index `find` gives for the cumulative masses in it."""
        buckets, counts = self._bucket_order()
        ids = self._sorted((buckets == bucket).nonzero()[:, 0])
        before = cumulative[bucket - 1].item() if bucket else 0.0
        masses = before + weights[ids].double().cumsum(0)
        index = min(find(masses), len(ids) - 1)
        rank = (int(counts[bucket - 1]) if bucket else 0) + index
        return RankedToken(int(ids[index]), rank, masses[index].item())


def mass_count(distribution: Distribution, share: float) -> int:
    """How many of the likeliest tokens together have at least the probability `share`."""
    return distribution.at_mass(distribution.probabilities, share, reached=True).rank + 1


def scores(logits: Tensor, ids: Sequence[int]) -> list[Score]:
    """The score of each of `ids` [n] under its own row of `logits` [n, V]."""
    return [Distribution(row).score(id) for row, id in zip(logits, ids, strict=True)]
