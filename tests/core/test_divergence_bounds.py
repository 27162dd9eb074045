"""KL and Jensen–Shannon of partly known distributions lie within their bounds for every completion of the rest."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from core.evaluation.divergence import divergences
from core.sampling.bounds import exact, high, low
from core.sampling.partial import next_distribution

SIZE = 40


def kl(p: Any, q: Any) -> Any:
    """KL(p ‖ q) in bits of distributions [..., V], by torch."""
    p, q = torch.broadcast_tensors(torch.as_tensor(p), torch.as_tensor(q))
    terms = torch.nn.functional.kl_div(q.log(), p, reduction="none")
    return terms.masked_fill(p == 0, 0).sum(-1).numpy() / math.log(2)


def random_probabilities(numbers: np.random.Generator, sharpness: float) -> Any:
    weights = np.exp(sharpness * numbers.standard_normal(SIZE))
    return weights / weights.sum()


def told(probabilities: Any, count: int) -> Any:
    """What an engine tells that gives the `count` likeliest tokens."""
    ids = np.argsort(-probabilities)[:count]
    return next_distribution(ids.tolist(), np.log(probabilities[ids]).tolist(), SIZE)


def completions(probabilities: Any, count: int, numbers: np.random.Generator) -> Any:
    """Distributions with the same likeliest tokens whose other tokens share the rest in other ways."""
    order = np.argsort(-probabilities)
    others, cap = order[count:], probabilities[order[count - 1]]
    rest = probabilities[others].sum()
    yield probabilities
    for _ in range(30):
        shares, left = np.zeros(len(others)), rest
        for at in numbers.permutation(len(others)):
            most = min(cap, left)
            least = max(0.0, left - cap * np.count_nonzero(shares == 0) + most)
            shares[at] = most if numbers.random() < 0.5 else numbers.uniform(min(least, most), most)
            left -= shares[at]
        if left <= 1e-9:
            whole = probabilities.copy()
            whole[others] = shares
            yield whole


@pytest.mark.parametrize("sharpness", [0.5, 2.0])
@pytest.mark.parametrize(("known_p", "known_q"), [(SIZE, SIZE), (8, SIZE), (SIZE, 8), (8, 12)])
def test_every_completion_lies_within_the_bounds(known_p: int, known_q: int, sharpness: float) -> None:
    numbers = np.random.default_rng(known_p * 100 + known_q)
    for _ in range(20):
        p, q = (random_probabilities(numbers, sharpness) for _ in range(2))
        forth, back, middle = divergences(told(p, known_p), told(q, known_q))
        one = np.stack(list(completions(p, known_p, numbers)) if known_p < SIZE else [p])[:, None]
        other = np.stack(list(completions(q, known_q, numbers)) if known_q < SIZE else [q])[None]
        mean = (one + other) / 2  # [completions of p, completions of q, V]
        js = (kl(one, mean) + kl(other, mean)) / 2
        for bounds, values in ((forth, kl(one, other)), (back, kl(other, one)), (middle, js)):
            assert low(bounds) - 1e-5 <= values.min() and values.max() <= high(bounds) + 1e-5
    assert exact(forth) == exact(back) == exact(middle) == (known_p == known_q == SIZE)


def test_the_largest_divergence_is_reached_where_the_other_side_is_known() -> None:
    numbers = np.random.default_rng(5)
    p, q = (random_probabilities(numbers, 1.5) for _ in range(2))
    forth, back, _ = divergences(told(p, 10), told(q, SIZE))
    order = np.argsort(-p)
    cap, rest = p[order[9]], p[order[10:]].sum()
    worst, left = p.copy(), rest
    worst[order[10:]] = 0
    for at in sorted(order[10:], key=lambda id: q[id]):
        worst[at] = min(cap, left)
        left -= worst[at]
    assert high(forth) == pytest.approx(kl(worst, q), rel=1e-6)
    assert high(back) == math.inf
