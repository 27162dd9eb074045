"""The stages between logits and the distribution that is drawn from: temperature, top-k, top-p, min-p."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from core.sampling.distribution import Distribution
from core.sampling.sampler import Sampler
from core.sampling.values import SamplerStage


@dataclass(frozen=True, slots=True)
class Selection:
    """What is drawn from: the first `count` tokens of the order, weighted by `weights`, which hold `mass`."""

    weights: Tensor
    count: int
    mass: float
    stages: tuple[SamplerStage, ...]


def apply_stages(distribution: Distribution, sampler: Sampler) -> Selection:
    """Apply temperature, top-k, top-p and min-p in the sampler's order, and say what each left."""
    weights = distribution.tempered(sampler.temperature)
    stages = [SamplerStage("raw", len(distribution.logits), 1.0)]
    if sampler.order == "temperature first":
        stages.append(SamplerStage("temperature", 1 if sampler.greedy else stages[0].kept, 1.0))
        stages += _cuts(distribution, sampler, weights, stages[-1])
        count, mass = stages[-1].kept, stages[-1].mass
    else:
        stages += _cuts(distribution, sampler, distribution.probabilities, stages[0])
        count = 1 if sampler.greedy else stages[-1].kept
        mass = 1.0 if count == stages[0].kept else distribution.at_rank(weights, count - 1).through
        stages.append(SamplerStage("temperature", count, mass))
    stages.append(SamplerStage("renormalised", count, 1.0))
    return Selection(weights, count, mass, tuple(stages))


def _cuts(distribution: Distribution, sampler: Sampler, weights: Tensor, before: SamplerStage) -> list[SamplerStage]:
    """What top-k, top-p and min-p leave of `before`, each measured on what the one before it left of `weights` [V]."""
    count, mass = before.kept, before.mass
    if 0 < sampler.top_k < count:
        count = sampler.top_k
        mass = distribution.at_rank(weights, count - 1).through
    stages = [SamplerStage("top-k", count, mass)]
    if sampler.top_p < 1 and count > 1:
        place = distribution.at_mass(weights, sampler.top_p * mass, reached=True)
        if place.rank + 1 < count:
            count, mass = place.rank + 1, place.through
    stages.append(SamplerStage("top-p", count, mass))
    if sampler.min_p > 0 and count > 1:
        shares = weights.numpy()
        likely = int(np.count_nonzero(shares >= sampler.min_p * shares.max()))
        if likely < count:
            count, mass = likely, distribution.at_rank(weights, likely - 1).through
    stages.append(SamplerStage("min-p", count, mass))
    return stages
