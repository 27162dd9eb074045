"""One draw by the inverse CDF from one uniform number (article: draw by probability, as `torch.multinomial`)."""

import random

from core.language import _
from core.sampling.apply import apply_stages
from core.sampling.bounds import exact
from core.sampling.context import DrawContext
from core.sampling.next_distribution import NeedsMore, NextDistribution
from core.sampling.sampler import Sampler
from core.sampling.stages.mirostat import Mirostat
from core.sampling.values import Draw


def draw(distribution: NextDistribution, sampler: Sampler, u: float, context: DrawContext = DrawContext()) -> Draw:
    """The token that `u` in [0, 1) draws; greedy sampling ignores `u`.

    Of a distribution that is known in part it is the token that every completion of the rest gives. Raises `NeedsMore`
    if they give different ones, and `UserError` if the stages leave no token, or one of them cannot be computed.
    """
    selection = apply_stages(distribution, sampler, context).checked()
    id = selection.token_at(u).at
    rounded = None if sampler.greedy else distribution.rounded
    if rounded and apply_stages(rounded, sampler, context).checked().token_at(u).at != id:
        raise NeedsMore(
            distribution.vocab_size,
            _(
                "u = {u:.4f} falls so near the border of two tokens that the engine's rounded probabilities do not "
                "decide between them; draw again, or put a cut such as top-k first"
            ),
            u=u,
        )
    share = selection.probability(id)
    if not exact(share) and sampler.uses(Mirostat):
        raise NeedsMore(
            min(distribution.vocab_size, 2 * distribution.known),
            _(
                "mirostat needs the exact probability of the drawn token, of which only bounds are known; put a cut "
                "such as top-k before it"
            ),
        )
    return Draw(id, None if sampler.greedy else u, share, distribution.score(id))


def uniform(seed: int, position: int, redraw: int = 0) -> float:
    """The number in [0, 1) that decides the draw at a position; the same on every machine and device.

    It depends only on the seed, the position and how often the token at that position was drawn again.
    """
    return random.Random(f"{seed}:{position}:{redraw}").random()


def chance(seed: int, position: int, redraw: int = 0) -> float:
    """A second number in [0, 1) of the same draw, for stages that are applied by chance."""
    return random.Random(f"{seed}:{position}:{redraw}:chance").random()
