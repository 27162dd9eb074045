"""Tokens of which only their number and their mass are known: the rest of a distribution beyond its likeliest tokens.

Every bound holds for all completions: probabilities of the single tokens that agree with what is known of their sum.
The two extreme ones are the *concentrated* completion, in which as few tokens as possible have all the mass, and the
*even* one, in which all have the same.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

NOTHING = -math.inf
TIE = 1e-9
"""Scores whose relative difference is less count as equal: two that were equal may differ after float64 arithmetic."""


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _add(one: float, other: float) -> float:
    """log(exp(one) + exp(other))."""
    return float(np.logaddexp(one, other))


def _subtract(one: float, other: float) -> float:
    """log(max(0, exp(one) - exp(other)))."""
    return one + math.log(-math.expm1(other - one)) if other < one else NOTHING


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """Tokens with unknown scores: how many there are, log Σ exp(score), and what no score is above."""

    fewest: int
    most: int
    least: float
    """log Σ exp(score) is this at least, and `largest` at most; equal where it is known."""
    largest: float
    highest: float
    """No score is above it."""
    outside: Any
    """The ids, ascending, that are not among them."""
    whole: bool = True
    """Whether all ids but `outside` are among them."""
    error: float = NOTHING
    """log of the rounding error that Σ exp(score) may have; a temperature above 1 would magnify it."""

    def __post_init__(self) -> None:
        if self.most and self.highest + math.log(self.most) < self.largest:  # rounding, or a cut
            object.__setattr__(self, "largest", max(self.least, self.highest + math.log(self.most)))

    @property
    def bound(self) -> float:
        """A score above it is above all of them, whatever rounding does to ties."""
        return self.highest + TIE * max(1.0, abs(self.highest)) if self.highest > NOTHING else NOTHING

    def possible(self, ids: Any) -> Any:
        """Those of `ids`, NumPy and each once, that may be among them."""
        return np.setdiff1d(ids, self.outside, assume_unique=True)

    # What stages do to it --------------------------------------------------------------------------------------------

    def tempered(self, temperature: float) -> "Tail":
        """With all scores divided by a temperature. x ↦ x^(1/T) is concave for T > 1 and convex for T < 1."""
        power = 1 / temperature
        ends = [
            (_even_power(total, self.most, power), _concentrated_power(total, self.highest, power))
            for total in (_subtract(self.least, self.error), _add(self.largest, self.error))
        ]
        highest = self.highest / temperature
        return replace(self, least=min(ends[0]), largest=max(ends[1]), highest=highest, error=NOTHING)

    def cut_to(self, count: int) -> "Tail":
        """The `count` likeliest of them, or all if they are fewer."""
        if count >= self.most:
            return self
        kept = math.log(count / self.most) if count else NOTHING  # at least their share by number
        fewest, largest = min(count, self.fewest), self.largest if count else NOTHING
        return replace(self, fewest=fewest, most=count, least=self.least + kept, largest=largest, whole=False)

    def at_least(self, low: float, high: float) -> "Tail":
        """Those with at least a score that lies between `low` and `high`."""
        if self.highest < low:
            return self.none()
        most = min(float(self.most), _exp(self.largest - low) + 1e-6)
        least = _subtract(self.least, high + math.log(self.most)) if self.most else NOTHING
        return replace(self, fewest=0, most=int(most), least=least, whole=False)

    def none(self) -> "Tail":
        """No token."""
        return replace(self, fewest=0, most=0, least=NOTHING, largest=NOTHING, highest=NOTHING)

    def without(self, ids: Any) -> "Tail":
        """Without those of `ids`, NumPy ascending, that are among them."""
        removed = self.possible(ids)
        if not len(removed):
            return self
        fewest = max(0, self.fewest - len(removed))
        most = self.most - len(removed) if self.whole else self.most
        if not most:
            return self.none()
        least = _subtract(self.least, self.highest + math.log(len(removed)))
        outside = np.union1d(self.outside, removed)
        return replace(self, fewest=fewest, most=most, least=least, outside=outside)

    def raised(self, ids: Any, by: Any) -> "Tail":
        """With `by` [n] added to the scores of those of `ids` [n] that are among them."""
        there = ~np.isin(ids, self.outside)
        changes = np.asarray(by, dtype=np.float64)[there]
        if not len(changes) or not self.most:
            return self
        ups, downs = changes[changes > 0], changes[changes < 0]
        least, largest, highest, error = self.least, self.largest, self.highest, self.error
        if len(ups):
            log_gain = self.highest + float(np.logaddexp.reduce(ups + np.log(-np.expm1(-ups))))
            largest = min(_add(largest, log_gain), largest + float(ups.max()))
            highest, error = highest + float(ups.max()), error + float(ups.max())
        if len(downs):
            log_loss = self.highest + math.log(float(-np.expm1(downs).sum()))
            least = max(_subtract(least, log_loss), least + float(downs.min()))
        return replace(self, least=least, largest=largest, highest=highest, error=error)

    def reaching(self, least: float, largest: float) -> "Tail":
        """As many of the likeliest as have a log Σ exp(score) between two numbers."""
        return replace(self, fewest=0, least=least, largest=min(self.largest, largest), whole=False)

    def joined(self, ids: Any, scores: Any) -> "Tail":
        """Together with known tokens [n] that are certainly left."""
        if not len(ids):
            return self
        together = self.with_known(ids, scores)
        least = _add(self.least, float(np.logaddexp.reduce(scores)))
        return replace(together, fewest=self.fewest + len(ids), least=least, whole=self.whole)

    def with_known(self, ids: Any, scores: Any) -> "Tail":
        """Together with known tokens [n] of which it is not certain that they are left."""
        if not len(ids):
            return self
        largest = _add(self.largest, float(np.logaddexp.reduce(scores)))
        highest = max(self.highest, float(scores.max()))
        outside = np.setdiff1d(self.outside, ids)
        return replace(self, most=self.most + len(ids), largest=largest, highest=highest, outside=outside, whole=False)


def _even_power(total: float, count: int, power: float) -> float:
    """log Σ x^power for Σ x = exp(total) over `count` equal numbers."""
    return NOTHING if total == NOTHING else math.log(count) + power * (total - math.log(count))


def _concentrated_power(total: float, highest: float, power: float) -> float:
    """log Σ x^power for Σ x = exp(total) where as many numbers as possible are exp(highest), and one has the rest."""
    if total == NOTHING:
        return NOTHING
    full = math.floor(_exp(total - highest) * (1 + 1e-12))
    if not full:
        return power * total
    rest = _subtract(total, highest + math.log(full))
    return _add(math.log(full) + power * highest, power * rest)


def entropy_of_rest(mass: float, count: int, highest: float) -> tuple[float, float]:
    """The least and the largest -Σ q ln q of `count` probabilities q ≤ `highest` with Σ q = `mass`, in nats."""
    if mass <= 0 or not count:
        return 0.0, 0.0
    largest = mass * math.log(count / mass)
    cap = min(highest, mass)
    full = math.floor(mass / cap * (1 + 1e-12))
    rest = max(0.0, mass - full * cap)
    least = -full * cap * math.log(cap) - (rest * math.log(rest) if rest > 0 else 0.0)
    return min(least, largest), largest
