"""One draw by the inverse CDF from one uniform number (article: draw by probability, as `torch.multinomial`)."""

import random

from core.sampling.distribution import Distribution, RankedToken
from core.sampling.sampler import Sampler
from core.sampling.stages import Selection, apply_stages
from core.sampling.values import Draw


def token_at(distribution: Distribution, selection: Selection, u: float) -> RankedToken:
    """The token whose interval of the cumulative probability of the selection contains `u` in [0, 1)."""
    if selection.count == 1:
        return RankedToken(distribution.argmax, 0, selection.mass)
    return distribution.at_mass(selection.weights, u * selection.mass)


def draw(distribution: Distribution, sampler: Sampler, u: float) -> Draw:
    """The token that `u` in [0, 1) draws; greedy sampling ignores `u`."""
    selection = apply_stages(distribution, sampler)
    id = token_at(distribution, selection, u).id
    share = selection.weights[id].item() / selection.mass
    return Draw(id, None if sampler.greedy else u, share, distribution.score(id))


def uniform(seed: int, position: int, redraw: int = 0) -> float:
    """The number in [0, 1) that decides the draw at a position; the same on every machine and device.

    It depends only on the seed, the position and how often the token at that position was drawn again.
    """
    return random.Random(f"{seed}:{position}:{redraw}").random()
