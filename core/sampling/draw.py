"""One draw by inverse CDF from one uniform number."""

import random

from core.sampling.distribution import Distribution, RankedToken
from core.sampling.sampler import Sampler
from core.sampling.stages import Selection, apply_stages
from core.sampling.values import Draw


def token_at(distribution: Distribution, kept: Selection, u: float) -> RankedToken:
    """The token whose share of the kept, cumulative probability contains `u` in [0, 1) (inverse CDF; S8)."""
    if kept.count == 1:
        return RankedToken(distribution.argmax, 0, kept.mass)
    return distribution.at_mass(kept.weights, u * kept.mass)


def draw(distribution: Distribution, sampler: Sampler, u: float) -> Draw:
    """What `u` in [0, 1) draws; greedy leaves nothing to it."""
    kept = apply_stages(distribution, sampler)
    id = token_at(distribution, kept, u).id
    share = kept.weights[id].item() / kept.mass
    return Draw(id, None if sampler.greedy else u, share, distribution.score(id))


def uniform(seed: int, position: int, redraw: int = 0) -> float:
    """The number in [0, 1) that decides the draw at a position: the same on every machine and device.

    It depends on the seed, the place and how often that place was drawn again, and on nothing that happened before.
    """
    return random.Random(f"{seed}:{position}:{redraw}").random()
