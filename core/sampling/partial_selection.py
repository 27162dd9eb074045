"""The tokens that can still be drawn, where the least likely ones are known only as a sum.

Each method here holds for all completions of the rest (see `tail`): what it returns is exact, or bounded, and a token
whose fate is not certain becomes one of the rest.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from core.language import _
from core.sampling.bounds import Bounded, between, total
from core.sampling.bounds import high as most_of
from core.sampling.bounds import low as least_of
from core.sampling.next_distribution import NeedsMore
from core.sampling.ranking import RankedToken
from core.sampling.selection import Selection
from core.sampling.tail import Tail, entropy_of_rest

if TYPE_CHECKING:
    from core.sampling.context import DrawContext
    from core.sampling.stages.stage import Stage


class PartialSelection:
    """Tokens with a score each, and a `tail` of others that may be drawn too. It never changes.

    `known` of the V tokens of the vocabulary were known to begin with.
    """

    complete = False

    def __init__(self, ids: Any, scores: Any, tail: Tail, known: int, vocab_size: int) -> None:
        self.ids = ids
        """[n], ascending: tokens that are certainly selected."""
        self.scores = scores
        """[n], float64."""
        self.tail = tail
        self.known = known
        self.vocab_size = vocab_size

    def through(self, stage: "Stage", context: "DrawContext") -> "Selected":
        """What a stage leaves. Raises `NeedsMore` if that depends on more than is known."""
        return stage.bounded(self, context)

    @property
    def count(self) -> Bounded:
        """How many tokens can be drawn."""
        return between(len(self.ids) + self.tail.fewest, len(self.ids) + self.tail.most)

    @property
    def drawable(self) -> bool:
        """Whether a token can be drawn, as far as is known."""
        return self.shift > -math.inf and self.totals[1] > 0

    # The order and the masses ----------------------------------------------------------------------------------------

    @cached_property
    def shift(self) -> float:
        """What no score is above."""
        best = float(self.scores.max()) if len(self.scores) else -math.inf
        return max(best, self.tail.highest)

    @cached_property
    def order(self) -> Any:
        """The positions of `ids` whose place in the order is certain, likeliest first.

        A token that is as likely as one of the tail can be has no certain place: ties are ordered by id.
        """
        first = np.flatnonzero(self.scores > self.tail.bound)
        return first[np.argsort(-self.scores[first], kind="stable")]

    @cached_property
    def weights(self) -> Any:
        """exp(score - shift), [n] float64."""
        return np.exp(self.scores - self.shift)

    @cached_property
    def totals(self) -> tuple[float, float]:
        """The least and the largest Σ exp(score - shift) over all selected tokens."""
        own = float(self.weights.sum())
        return own + math.exp(self.tail.least - self.shift), own + math.exp(self.tail.largest - self.shift)

    @property
    def log_totals(self) -> tuple[float, float]:
        """log Σ exp(score), the least and the largest."""
        low, high = (self._log(total) for total in self.totals)
        return low, high

    @property
    def entropy_nats(self) -> Bounded:
        """The entropy of the softmax, in nats."""
        return between(*self._entropy())

    def _entropy(self) -> tuple[float, float]:
        """H = log W - (Σ w ln w) / W with W = Σ w, and the mass, number and largest weight of the tail."""
        low, high = self.totals
        largest = math.log(len(self.ids) + self.tail.most)
        if not low:
            return 0.0, largest
        positive = self.weights[self.weights > 0]
        own = -float((positive * np.log(positive)).sum())
        ends = []
        for tail in dict.fromkeys((self.tail.least, self.tail.largest)):
            mass = math.exp(tail - self.shift)
            ends.append(entropy_of_rest(mass, self.tail.most, math.exp(self.tail.highest - self.shift)))
        if len(ends) == 1:
            return max(0.0, math.log(low) + (own + ends[0][0]) / low), math.log(low) + (own + ends[0][1]) / low
        mass = math.exp(self.tail.largest - self.shift)
        even = min(mass, self.tail.most / math.e)  # x ln(n / x) rises up to there
        most = even * math.log(self.tail.most / even) if even else 0.0
        least = -math.exp(self.tail.least - self.shift) * min(0.0, self.tail.highest - self.shift)
        most = min(largest, math.log(high) + (own + most) / low)
        return min(most, max(0.0, math.log(low) + (own + least) / high)), most

    # What stages return ----------------------------------------------------------------------------------------------

    def tempered(self, temperature: float) -> "Selected":
        """All scores divided by a temperature above 0."""
        return self._with(self.ids, self.scores / temperature, self.tail.tempered(temperature))

    def first(self, count: int) -> "Selected":
        """The `count` likeliest tokens."""
        order = self.order
        if count <= len(order):
            return self._kept(order[:count], [], self.tail.none())
        if count >= len(self.ids) + self.tail.most:
            return self
        others = self._others(order)
        tail = self.tail.joined(self.ids[others], self.scores[others]).cut_to(count - len(order))
        return self._kept(order, [], tail)

    def at_least(self, low: float, high: float) -> "Selected":
        """The tokens with at least a score that lies between `low` and `high`; the likeliest one in any case."""
        least, most = self.best
        low, high = min(low, least), min(high, most)
        certain = self.scores >= high
        unsure = (self.scores >= low) & ~certain
        return self._kept(certain, unsure, self.tail.at_least(low, high))

    @property
    def best(self) -> tuple[float, float]:
        """Between which two numbers the highest score lies; equal where it is known."""
        best = float(self.scores.max()) if len(self.scores) else -math.inf
        return best, max(best, self.tail.highest)

    def within(self, share: float) -> "Selected":
        """The fewest likeliest tokens that together have the share of the mass; the one that reaches it is among them.

        With W between two numbers the share of it is too. Tokens between the ends of the two smallest sets are unsure.
        """
        order, (low, high) = self.order, self.totals
        masses = np.cumsum(self.weights[order])
        near, far = (int(np.searchsorted(masses, share * total)) for total in (low, high))
        certain, unsure = order[: near + 1], order[near + 1 : far + 1]
        if far < len(order):
            return self._kept(certain, unsure, self.tail.none())
        others = self._others(order)
        tail = self.tail.joined(self.ids[others], self.scores[others])
        own = float(self.weights[certain].sum())
        largest = share * high + math.exp(self.tail.highest - self.shift) - own
        return self._kept(certain, unsure, tail.reaching(self._log(share * low - own), self._log(largest)))

    def typical(self, share: float) -> "Selected":
        """The fewest tokens with the share of the mass whose score is nearest to the mean score, c = log W - H.

        Both edges of that window of scores rise with c, and it widens with the mass, so what it holds at the extreme
        values of both it holds between them. Raises `NeedsMore` where that differs, or where the tail reaches into it.
        """
        (low, high), (log_low, log_high), (least, most) = self.totals, self.log_totals, self._entropy()
        windows = [
            self._window(center, share * mass) for center in (log_low - most, log_high - least) for mass in (low, high)
        ]
        first = windows[0]
        same = all((each == first).all() for each in windows[1:])
        if not same or not first.any() or self.scores[first].min() <= self.tail.bound:
            raise self.undecided()
        reach = max(abs(self.scores[first] - center).max() for center in (log_low - most, log_high - least))
        if log_low - most - reach <= self.tail.bound:
            raise self.undecided()
        return self._kept(first, [], self.tail.none())

    def _window(self, center: float, mass: float) -> Any:
        """The tokens nearest to a score that together have a mass, [n] bool; none if they have less."""
        far = np.abs(self.scores - center)
        order = np.argsort(far, kind="stable")
        masses = np.cumsum(self.weights[order])
        last = int(np.searchsorted(masses, mass))
        return far <= far[order[last]] if last < len(order) else np.zeros(len(far), dtype=bool)

    def keep(self, mask: Any) -> "Selected":
        """The tokens whose ids are true in `mask` [V]."""
        return self._kept(mask[self.ids], [], self.tail.without(np.flatnonzero(~mask)))

    def without(self, ids: Sequence[int]) -> "Selected":
        """All tokens but some ids."""
        removed = np.unique(np.asarray(ids, dtype=np.int64))
        return self._kept(~np.isin(self.ids, removed), [], self.tail.without(removed))

    def without_first(self, likely: int) -> "Selected":
        """All tokens but the first `likely` of the order, which must be certain."""
        gone = np.zeros(len(self.ids), dtype=bool)
        gone[self.order[:likely]] = True
        return self._kept(~gone, [], self.tail)

    def raised(self, ids: Sequence[int], by: Any) -> "Selected":
        """With `by` [n], or one number, added to the scores of `ids` [n], each once."""
        wanted = np.asarray(ids, dtype=np.int64)
        changes = np.broadcast_to(np.asarray(by, dtype=np.float64), wanted.shape)
        scores = self.scores.copy()
        at = np.minimum(np.searchsorted(self.ids, wanted), max(0, len(self.ids) - 1))
        there = self.ids[at] == wanted if len(self.ids) else np.zeros(len(wanted), dtype=bool)
        scores[at[there]] += changes[there]
        return self._with(self.ids, scores, self.tail.raised(wanted, changes))

    def undecided(self) -> NeedsMore:
        """The error where what is known does not tell which tokens a stage keeps."""
        return NeedsMore(
            self.more,
            _("the {known:,} likeliest tokens do not decide which tokens it keeps; put a cut such as top-k before it"),
            known=self.known,
        )

    def needs_all(self) -> NeedsMore:
        """The error of a stage that depends on every single probability."""
        return NeedsMore(
            self.vocab_size,
            _(
                "it needs the probabilities of all {vocab_size:,} tokens, but {known:,} are known; put a cut such as "
                "top-k before it"
            ),
            vocab_size=self.vocab_size,
            known=self.known,
        )

    @property
    def more(self) -> int:
        """How many tokens to ask for where the known ones decide nothing."""
        return min(self.vocab_size, 2 * self.known)

    def _others(self, order: Any) -> Any:
        """The positions that are not in `order`."""
        mask = np.ones(len(self.ids), dtype=bool)
        mask[order] = False
        return mask

    def _log(self, weight: float) -> float:
        """The log Σ exp(score) of a weight."""
        return self.shift + math.log(weight) if weight > 0 else -math.inf

    def _kept(self, certain: Any, unsure: Any, tail: Tail) -> "Selected":
        """The tokens at `certain`, those at `unsure` as a part of the tail, and the tail."""
        if len(unsure):
            tail = tail.with_known(self.ids[unsure], self.scores[unsure])
        if isinstance(certain, np.ndarray) and certain.dtype != bool:
            certain = np.sort(certain)
        return self._with(self.ids[certain], self.scores[certain], tail)

    def _with(self, ids: Any, scores: Any, tail: Tail) -> "Selected":
        if not tail.most:
            return Selection(ids, scores)
        return PartialSelection(ids, scores, tail, self.known, self.vocab_size)

    # The draw --------------------------------------------------------------------------------------------------------

    def token_at(self, u: float) -> RankedToken:
        """The token that `u` in [0, 1) draws in every completion. Raises `NeedsMore` if they do not agree."""
        order, (low, high) = self.order, self.totals
        masses = np.cumsum(self.weights[order])
        first, last = (int(np.searchsorted(masses, u * total, "right")) for total in (low, high))
        if first != last or last >= len(order):
            text = _(
                "the {known:,} known tokens do not decide which token u = {u:.4f} draws; put a cut such as top-k first"
            )
            if low == high and len(order):
                text = _(
                    "the {known:,} known tokens decide the draw for u < {certain:.4f} only, and u is {u:.4f}; put a "
                    "cut such as top-k first"
                )
            certain = masses[-1] / high if len(order) else 0.0
            raise NeedsMore(self.more, text, u=u, known=self.known, certain=certain)
        return RankedToken(int(self.ids[order[first]]), first, float(masses[first]) / high)

    def probability(self, id: int) -> Bounded:
        """The probability of an id."""
        low, high = self.totals
        at = int(np.searchsorted(self.ids, id))
        if at < len(self.ids) and self.ids[at] == id:
            weight = float(self.weights[at])
            return between(weight / high, weight / low if low else 1.0)
        if not len(self.tail.possible(np.array([id]))):
            return 0.0
        most = math.exp(self.tail.highest - self.shift)
        return between(0.0, most / (float(self.weights.sum()) + most) if most else 0.0)

    def probabilities_of(self, ids: Any) -> list[Bounded]:
        """The probabilities of `ids` [m]."""
        return [self.probability(id) for id in ids.tolist()]

    def contains(self, ids: Any) -> Any:
        """Which of `ids` [m] may be selected, bool."""
        return np.isin(ids, self.ids) | (~np.isin(ids, self.tail.outside) & (self.tail.most > 0))

    def first_ids(self, count: int) -> list[int]:
        """The likeliest tokens, at most `count`, as far as their order is known."""
        found: list[int] = self.ids[self.order[:count]].tolist()
        return found

    def interval(self, id: int) -> tuple[float, float]:
        """The values of u that draw an id in every completion, [from, to); empty if there are none."""
        at = np.flatnonzero(self.ids[self.order] == id)
        if not len(at):
            return 0.0, 0.0
        low, high = self.totals
        if not low:
            return 0.0, 0.0
        weights = self.weights[self.order[: int(at[0]) + 1]]
        end = float(weights.sum())
        start, end = (end - float(weights[-1])) / low, end / high
        return (start, end) if start < end else (0.0, 0.0)

    def intervals(self, count: int) -> dict[int, tuple[float, float]]:
        """The values of u that draw each of the `count` likeliest tokens in every completion."""
        low, high = self.totals
        ends = np.cumsum(self.weights[self.order[:count]])
        starts = np.concatenate(([0.0], ends))[:-1] / (low or 1.0)
        found = {}
        for id, start, end in zip(self.first_ids(count), starts.tolist(), (ends / high).tolist(), strict=True):
            found[id] = (start, end) if start < end else (0.0, 0.0)
        return found

    # What a stage did ------------------------------------------------------------------------------------------------

    def change(self, after: "Selected") -> tuple[Bounded, Bounded, Bounded]:
        """How many tokens a stage removed that left `after`, their mass, and the total variation distance."""
        if after is self:
            return 0, 0.0, 0.0
        if not after.drawable:
            return self.count, 1.0, 1.0
        removed = between(
            max(0, least_of(self.count) - most_of(after.count)), max(0, most_of(self.count) - least_of(after.count))
        )
        if not most_of(removed):
            mass: Bounded = 0.0
        else:
            left = total(self.probabilities_of(after.ids))
            most = 1.0 - least_of(left)
            mass = between(max(0.0, 1.0 - most_of(left)) if isinstance(after, Selection) else 0.0, max(0.0, most))
        pairs = list(zip(self.probabilities_of(after.ids), after.probabilities_of(after.ids), strict=True))
        gaps = total(_gap(one, other) for one, other in pairs)
        rest = (1.0 - least_of(total(one for one, _ in pairs))) + (1.0 - least_of(total(other for _, other in pairs)))
        moved = between(max(least_of(mass), 0.5 * least_of(gaps)), min(1.0, 0.5 * (most_of(gaps) + rest)))
        return removed, mass, moved


def _gap(one: Bounded, other: Bounded) -> Bounded:
    """|one - other|."""
    apart = max(0.0, least_of(one) - most_of(other), least_of(other) - most_of(one))
    return between(apart, max(most_of(one) - least_of(other), most_of(other) - least_of(one)))


Selected = Selection | PartialSelection
