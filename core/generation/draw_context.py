"""What the stages of a sampler may know at a position of a sequence of tokens."""

import math
from collections.abc import Sequence
from typing import Any

from core.generation.guides import Guides
from core.generation.token import Token
from core.sampling.bounds import low
from core.sampling.context import DrawContext, GuideKind, Vocabulary
from core.sampling.draw import chance
from core.sampling.sampler import Sampler
from core.sampling.stages.mirostat import Mirostat


def draw_context(
    tokens: Sequence[Token],
    prompt_length: int,
    sampler: Sampler,
    redraw: int,
    vocabulary: Vocabulary,
    guides: Guides,
) -> DrawContext:
    """The context of the token after `tokens`, of which the first are the prompt.

    It is a function of these tokens alone, so it is the same whatever was undone, and on a replay.
    """
    if not sampler.active:
        return DrawContext()
    ids = [token.id for token in tokens]

    def guide(kind: GuideKind, name: str) -> Any:
        return guides.logits(kind, name, ids, prompt_length)

    return DrawContext(
        ids=ids,
        prompt_length=prompt_length,
        chance=chance(sampler.seed, len(tokens), redraw),
        tokens=vocabulary,
        surprisals=_surprisals(tokens) if sampler.uses(Mirostat) else (),
        guide=guide,
    )


def _surprisals(tokens: Sequence[Token]) -> list[float]:
    """-log2 of the probability it was drawn with, of each token that a sampler with mirostat drew."""
    return [
        0.0 - math.log2(low(token.sampled_probability))
        for token in tokens
        if token.sampled_probability and token.sampler and token.sampler.uses(Mirostat)
    ]
