"""A distribution as an engine tells it that gives only the likeliest tokens, and what any completion of it may be."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from core.sampling.next_distribution import NextDistribution
from core.sampling.partial import PartialDistribution, next_distribution


def truncated(logits: Tensor, known: int, seed: int = 0) -> NextDistribution:
    """The `known` likeliest tokens of logits [V]; of equally likely ones at the end any, as `seed` has it."""
    logprobs = logits.double().log_softmax(-1).numpy()
    mixed = np.random.default_rng(seed).permutation(len(logprobs))
    likeliest = mixed[np.argsort(-logprobs[mixed], kind="stable")][:known]
    return next_distribution(likeliest.tolist(), logprobs[likeliest].tolist(), len(logprobs))


def partly(shares: Sequence[float], vocab_size: int) -> PartialDistribution:
    """The first tokens of a vocabulary with these probabilities."""
    return PartialDistribution(range(len(shares)), np.log(shares).tolist(), vocab_size)


def completions(known: PartialDistribution, count: int, seed: int = 0) -> list[Tensor]:
    """Logits [V] of distributions that agree with what is known: the even one, the concentrated one, random ones."""
    rest, others, cap = known.rest, known.others, float(known.probabilities[-1])
    random = np.random.default_rng(seed)
    tails = [np.full(others, rest / others)]
    full = min(others, int(rest / cap * (1 + 1e-12)))
    concentrated = np.zeros(others)
    concentrated[:full] = cap
    if full < others:
        concentrated[full] = max(0.0, rest - full * cap)
    tails.append(random.permutation(concentrated))
    for _ in range(count - 2):
        weight = random.random() ** 2
        tails.append(weight * tails[0] + (1 - weight) * random.permutation(tails[1]))
    found = []
    for tail in tails:
        shares = np.zeros(known.vocab_size)
        shares[known.ids] = known.probabilities
        shares[np.setdiff1d(np.arange(known.vocab_size), known.ids)] = tail
        with np.errstate(divide="ignore"):
            found.append(torch.from_numpy(np.log(shares)))
    return found
