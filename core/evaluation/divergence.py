"""KL and Jensen–Shannon divergence of two next-token distributions over the same ids, exact or bounded, in bits.

Where a distribution is known for its likeliest tokens only, the bounds hold for all completions of the rest. The lower
ones sum the tokens that are not known in both: no partition of the outcomes has a larger divergence (Cover and Thomas
2006, theorem 2.7.1, the log sum inequality).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.sampling.bounds import Bounded, between
from core.sampling.distribution import Distribution
from core.sampling.next_distribution import NextDistribution
from core.sampling.partial import ROUNDING, PartialDistribution

BITS = 1 / math.log(2)


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """What is told of a distribution."""

    ids: Any
    """[k], ascending."""
    logprobs: Any
    """[k], float64, nats."""
    rest: float
    """The mass of the other tokens."""
    others: int
    highest: float
    """None of them is likelier."""


def divergences(p: NextDistribution, q: NextDistribution) -> tuple[Bounded, Bounded, Bounded]:
    """KL(p ‖ q), KL(q ‖ p) and the Jensen–Shannon divergence of two distributions over the same V."""
    one, other = _told(p), _told(q)
    return _kl(one, other), _kl(other, one), _js(one, other)


def _told(distribution: NextDistribution) -> _Told:
    if isinstance(distribution, PartialDistribution):
        order = np.argsort(distribution.ids)
        logprobs, rest = distribution.logprobs[order], distribution.rest
        return _Told(distribution.ids[order], logprobs, rest, distribution.others, distribution.highest)
    assert isinstance(distribution, Distribution)
    logits = distribution.scores.astype(np.float64)
    return _Told(np.arange(len(logits)), logits - np.logaddexp.reduce(logits), 0.0, 0, 0.0)


def _in_both(p: _Told, q: _Told) -> tuple[Any, Any, float, float]:
    """ln p and ln q of the tokens that are known in both, and the masses of all others in p and in q."""
    _, at_p, at_q = np.intersect1d(p.ids, q.ids, assume_unique=True, return_indices=True)
    log_p, log_q = p.logprobs[at_p], q.logprobs[at_q]
    masses = (max(0.0, 1.0 - math.fsum(np.exp(each).tolist())) for each in (log_p, log_q))
    return log_p, log_q, *masses


def _kl(p: _Told, q: _Told) -> Bounded:
    log_p, log_q, rest_p, rest_q = _in_both(p, q)
    possible = log_p > -np.inf
    with np.errstate(over="ignore"):
        own = float((np.exp(log_p[possible]) * (log_p[possible] - log_q[possible])).sum())
    if not p.others and not q.others:
        return max(0.0, own) * BITS
    least = own + (rest_p * math.log(rest_p / (rest_q + ROUNDING)) if rest_p else 0.0)
    most = own + _largest_rest(p, q) if not q.others else math.inf
    least = max(0.0, least)
    return between(least * BITS, max(least, most) * BITS)


def _largest_rest(p: _Told, q: _Told) -> float:
    """The most that the tokens add that are not known in p, where q is known for all.

    x ln(x / q) is convex, so the maximum has all of them but one at 0 or at the highest, the least likely ones in q.
    """
    unknown = np.ones(len(q.ids), dtype=bool)
    unknown[p.ids] = False
    cap = min(p.highest, p.rest)
    if cap <= 0:
        return 0.0
    full = min(p.others, int(p.rest / cap * (1 + 1e-12)))
    smallest = np.sort(q.logprobs[unknown])[: full + 1]
    last = max(0.0, p.rest - full * cap)
    sum_full = float((cap * (math.log(cap) - smallest[:full])).sum())
    return sum_full + (last * (math.log(last) - float(smallest[full])) if last and full < len(smallest) else 0.0)


def _js(p: _Told, q: _Told) -> Bounded:
    log_p, log_q, rest_p, rest_q = _in_both(p, q)
    log_m = np.logaddexp(log_p, log_q) - math.log(2)
    own = sum(
        float((np.exp(each[each > -np.inf]) * (each - log_m)[each > -np.inf]).sum()) / 2 for each in (log_p, log_q)
    )
    if not p.others and not q.others:
        return max(0.0, own) * BITS
    middle = (rest_p + rest_q) / 2
    together = sum(each * math.log(each / middle) / 2 for each in (rest_p, rest_q) if each > 0)
    least = max(0.0, own + together)
    return between(least * BITS, max(least * BITS, min(1.0, own * BITS + middle)))
