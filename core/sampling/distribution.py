"""Owns the way from logits to one draw, each stage as data; float32 on the CPU, whatever ran the model.

Temperature comes first, then top-k, top-p and min-p, as in transformers (5.23, `_get_logits_processor`); or last, after
the same cuts, as in llama.cpp (`--samplers` is by default …;top_k;typ_p;top_p;min_p;xtc;temperature). Each cut keeps a
head of one and the same order (likeliest first, equal ones by id), which no temperature changes. So what is kept is a
count and a mass, and no more is sorted than is asked for.
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
NEAR, FEW = 8.0, 4096
"""Nats below the favourite within which lies what is drawn most often, and how many are few enough to be sorted."""


def softmax(below: Any) -> Any:
    """Shares of 1 of logits [V] of numpy whose highest is 0.

    Torch's own sums them with an error of 1e-5 where V is large.
    """
    powers = np.exp(below)
    powers /= powers.sum()
    return powers


class RankedToken(NamedTuple):
    """A point in the order of tokens."""

    id: int
    rank: int
    through: float
    """Mass up to and including it."""


class Distribution:
    """The model's next-token distribution at one position; opaque outside core.

    `logits` is [V] of any float dtype on any device. Raises `UserError` where a logit is NaN or +inf.
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits.detach().to("cpu", torch.float32)
        """[V], float32, CPU."""
        self._numbers = self.logits.numpy()
        """The same: for what is done once a token, numpy is the shorter way."""
        self._numbers = self.logits.numpy()
        """The same: for what is done once a token, numpy is the shorter way."""
        self.argmax = int(self._numbers.argmax())  # the first of equal ones, or of what is no number
        """The likeliest token."""
        self.highest = float(self._numbers[self.argmax])
        """Its logit."""
        if not math.isfinite(self.highest):
            raise UserError("the model's logits are not finite numbers; its weights or this dtype are at fault")
        below = self._below()
        shares = softmax(below)
        self.probabilities = torch.from_numpy(shares)
        """[V], the model's own."""
        nats = -math.log(shares[self.argmax])
        self.log_total = self.highest + nats
        """log Σ exp(logit), nats."""
        np.maximum(below, -1e4, out=below)  # 0 · -inf would be no number
        below *= shares
        self.entropy_bits = max(0.0, (nats - float(below.sum())) / math.log(2))
        """H = -Σ p log2 p of the model's own distribution."""
        self._tempered = (1.0, self.probabilities)
        self._buckets: tuple[Tensor, Tensor] | None = None
        self._through: tuple[Tensor, Tensor] | None = None

    def _below(self) -> Any:
        """How far each logit lies from the highest, [V] of numpy."""
        with np.errstate(over="ignore"):
            return self._numbers - self.highest

    def tempered(self, temperature: float) -> Tensor:
        """softmax(logits / T), [V]; all mass on the first favourite at T = 0."""
        if self._tempered[0] != temperature:
            if temperature == 0:
                shares = np.zeros_like(self._numbers)
                shares[self.argmax] = 1
            else:
                below = self._below()
                with np.errstate(over="ignore"):
                    below /= min(max(temperature, 1e-30), 1e30)
                shares = softmax(below)
            self._tempered = (temperature, torch.from_numpy(shares))
        return self._tempered[1]

    def margin(self) -> float:
        """How much likelier the favourite is than the second."""
        first, second = [*self.probabilities[self.head(2)].tolist(), 0.0][:2]
        return first - second

    def score(self, id: int) -> Score:
        """What the model thinks of `id` coming next."""
        logit = float(self._numbers[id])
        rank = int(np.count_nonzero(self._numbers > logit)) if logit < self.highest else 0
        return Score(logit, logit - self.log_total, self.entropy_bits, rank)

    def head(self, count: int) -> Tensor:
        """The ids of the `count` likeliest tokens in order, equal ones by id."""
        if count == 1:
            return torch.tensor([self.argmax])
        count = min(count, len(self.logits))
        if count <= len(self._near):
            return torch.from_numpy(self._near[:count])
        ids = (self.logits >= self.logits.topk(max(1, count)).values[-1]).nonzero()[:, 0]
        return self._sorted(ids)[:count]

    @cached_property
    def _near(self) -> Any:
        """The ids of the likeliest tokens in order, [n] of numpy; none where too many are nearly as likely."""
        ids = np.flatnonzero(self._numbers >= self.highest - NEAR)
        return ids[np.argsort(-self._numbers[ids], kind="stable")] if len(ids) <= FEW else ids[:0]

    def at_mass(self, weights: Tensor, target: float, *, reached: bool = False) -> RankedToken:
        """The token at which the mass of `weights` [V], summed from the likeliest on, passes (or reaches) `target`."""
        masses = np.cumsum(weights.numpy()[self._near], dtype=np.float64)
        if not len(masses) or masses[-1] <= target:
            return self._at_mass_of_all(weights, target, reached=reached)
        index = int(np.searchsorted(masses, target, "left" if reached else "right"))
        return RankedToken(int(self._near[index]), index, float(masses[index]))

    def at_rank(self, weights: Tensor, rank: int) -> RankedToken:
        """The token of that rank, and the mass of `weights` through it."""
        if rank >= len(self._near):
            return self._at_rank_of_all(weights, rank)
        masses = np.cumsum(weights.numpy()[self._near[: rank + 1]], dtype=np.float64)
        return RankedToken(int(self._near[rank]), rank, float(masses[rank]))

    @threads.single_thread()
    def _at_mass_of_all(self, weights: Tensor, target: float, *, reached: bool) -> RankedToken:
        through = self._mass(weights)
        target = min(target, math.nextafter(through[-1].item(), 0.0))

        def first(mass: Tensor) -> int:
            wanted = torch.searchsorted(mass, target, right=not reached)
            return int(min(wanted, torch.searchsorted(mass, mass[-1])))  # sums may round below it: the last with mass

        return self._inside(first(through), weights, through, first)

    @threads.single_thread()
    def _at_rank_of_all(self, weights: Tensor, rank: int) -> RankedToken:
        _, counts = self._order()
        bucket = int(torch.searchsorted(counts, rank, right=True))
        before = counts[bucket - 1].item() if bucket else 0
        return self._inside(bucket, weights, self._mass(weights), lambda _: int(rank - before))

    def _order(self) -> tuple[Tensor, Tensor]:
        """The bucket of each token, [V], buckets in descending order of logits; tokens up to and in each bucket."""
        if self._buckets is None:
            finite = self.logits.clamp(min=self.highest - 1e4)
            span = self.highest - finite.min().item()
            bucket = ((self.highest - finite) * ((BUCKETS - 1) / max(span, 1e-30))).to(torch.int64)
            self._buckets = bucket, torch.bincount(bucket, minlength=BUCKETS).cumsum(0)
        return self._buckets

    def _mass(self, weights: Tensor) -> Tensor:
        """Mass of `weights` up to and in each bucket, float64; that of the last `weights` is kept."""
        if self._through is None or self._through[0] is not weights:
            mass = torch.bincount(self._order()[0], weights=weights.double(), minlength=BUCKETS).cumsum(0)
            self._through = weights, mass
        return self._through[1]

    def _sorted(self, ids: Tensor) -> Tensor:
        """Ascending `ids` by descending logit, equal ones still by id."""
        return ids[self.logits[ids].sort(descending=True, stable=True).indices]

    def _inside(self, bucket: int, weights: Tensor, through: Tensor, find: Callable[[Tensor], int]) -> RankedToken:
        """Sort one bucket and return the token that `find` chooses by the mass through each."""
        buckets, counts = self._order()
        ids = self._sorted((buckets == bucket).nonzero()[:, 0])
        before = through[bucket - 1].item() if bucket else 0.0
        masses = before + weights[ids].double().cumsum(0)
        index = min(find(masses), len(ids) - 1)
        rank = (int(counts[bucket - 1]) if bucket else 0) + index
        return RankedToken(int(ids[index]), rank, masses[index].item())


def mass_count(distribution: Distribution, share: float) -> int:
    """How many of the likeliest tokens hold at least `share` of the model's own probability (S12)."""
    return distribution.at_mass(distribution.probabilities, share, reached=True).rank + 1


def scores(logits: Tensor, ids: Sequence[int]) -> list[Score]:
    """What the model thought of `ids`, each under its own row of `logits` [n, V]."""
    return [Distribution(row).score(id) for row, id in zip(logits, ids, strict=True)]
