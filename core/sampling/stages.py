"""The stages between logits and the distribution that a token is drawn from: temperature, top-k, top-p, min-p.

A cut is a function of one shape, listed in `CUTS`; the README of this folder says how to add one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from core.sampling.distribution import Distribution
from core.sampling.sampler import Sampler
from core.sampling.values import SamplerStage


@dataclass(frozen=True, slots=True)
class Selection:
    """The tokens that can be drawn: the first `count` in the order of the distribution."""

    weights: Tensor
    """Relative probabilities of all tokens, [V] float32."""
    count: int
    mass: float
    """The sum of the weights of the selected tokens."""
    stages: tuple[SamplerStage, ...]
    """What each stage left, in the order applied."""


def apply_stages(distribution: Distribution, sampler: Sampler) -> Selection:
    """Apply temperature and cuts in the sampler's order, and record what each stage left."""
    weights = distribution.tempered(sampler.temperature)
    stages = [SamplerStage("raw", len(distribution.logits), 1.0)]
    if sampler.order == "temperature first":
        stages.append(SamplerStage("temperature", 1 if sampler.greedy else stages[0].kept, 1.0))
        stages += _cuts(distribution, sampler, weights, stages[-1])
        count, mass = stages[-1].kept, stages[-1].mass
    else:
        stages += _cuts(distribution, sampler, distribution.probabilities, stages[0])
        count = 1 if sampler.greedy else stages[-1].kept
        mass = 1.0 if count == stages[0].kept else distribution.at_rank(weights, count - 1).cumulative
        stages.append(SamplerStage("temperature", count, mass))
    stages.append(SamplerStage("renormalised", count, 1.0))
    return Selection(weights, count, mass, tuple(stages))


def _cuts(distribution: Distribution, sampler: Sampler, weights: Tensor, before: SamplerStage) -> list[SamplerStage]:
    """What each cut leaves of what the stage before it left."""
    stages = []
    for cut in CUTS:
        before = cut(distribution, sampler, weights, before)
        stages.append(before)
    return stages


# Cuts. Each returns the stage after it; a cut that is off returns the count and mass of the stage before. ------------


def top_k(distribution: Distribution, sampler: Sampler, weights: Tensor, before: SamplerStage) -> SamplerStage:
    """Keep the k likeliest tokens (Fan, Lewis & Dauphin 2018)."""
    count, mass = before.kept, before.mass
    if 0 < sampler.top_k < count:
        count = sampler.top_k
        mass = distribution.at_rank(weights, count - 1).cumulative
    return SamplerStage("top-k", count, mass)


def top_p(distribution: Distribution, sampler: Sampler, weights: Tensor, before: SamplerStage) -> SamplerStage:
    """Keep the fewest tokens that hold the share p of the remaining mass (Holtzman et al. 2020)."""
    count, mass = before.kept, before.mass
    if sampler.top_p < 1 and count > 1:
        last = distribution.at_mass(weights, sampler.top_p * mass, reached=True)
        if last.rank + 1 < count:
            count, mass = last.rank + 1, last.cumulative
    return SamplerStage("top-p", count, mass)


def min_p(distribution: Distribution, sampler: Sampler, weights: Tensor, before: SamplerStage) -> SamplerStage:
    """Keep the tokens at least `min_p` times as likely as the likeliest (Nguyen et al. 2024)."""
    count, mass = before.kept, before.mass
    if sampler.min_p > 0 and count > 1:
        shares = weights.numpy()
        likely = int(np.count_nonzero(shares >= sampler.min_p * shares.max()))
        if likely < count:
            count, mass = likely, distribution.at_rank(weights, likely - 1).cumulative
    return SamplerStage("min-p", count, mass)


CUTS: tuple[Callable[[Distribution, Sampler, Tensor, SamplerStage], SamplerStage], ...] = (top_k, top_p, min_p)
"""The cuts, in the order applied."""
