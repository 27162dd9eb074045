"""Values that explain one draw stage by stage; no tensors."""

from dataclasses import dataclass

from core.sampling.bounds import Bounded
from core.sampling.sampler import Sampler
from core.sampling.values import StageEffect


@dataclass(frozen=True, slots=True)
class SamplerRow:
    """One token and what each stage did to it."""

    id: int
    piece: bytes
    rank: int
    """In the model's own order; 0 is the likeliest token."""
    logit: float
    shares: tuple[Bounded, ...]
    """Its probability in the model's distribution, and then after each stage among the tokens that the stage left."""
    cut_by: int | None
    """The number of the stage that removed it, from 0; None if it can be drawn."""
    interval: tuple[float, float]
    """[from, to): the values of u that draw it; empty if it was removed."""


@dataclass(frozen=True, slots=True)
class SamplerTail:
    """The tokens that are not among the rows, summed."""

    count: int
    kept: Bounded
    """How many of them can be drawn."""
    shares: tuple[Bounded, ...]
    """Their summed probability, as in a row."""


@dataclass(frozen=True, slots=True)
class Pick:
    """A token that one way of choosing gives."""

    id: int
    piece: bytes
    rank: int
    """In the model's own order; 0 is the likeliest token."""
    probability: float
    """softmax(logits), before the stages."""
    share: Bounded
    """Its probability in the distribution it was drawn from."""
    interval: tuple[float, float]
    """[from, to): the values of u that draw it."""


@dataclass(frozen=True, slots=True)
class SamplerLens:
    """Why a token was drawn: every stage side by side, the number u, and the token it selects."""

    sampler: Sampler
    stages: tuple[StageEffect, ...]
    """In the order applied."""
    entropies: tuple[Bounded, ...]
    """Of the model's distribution, and then after each stage, in bits."""
    rows: tuple[SamplerRow, ...]
    """The likeliest tokens of the model and those that are drawn most, in the model's order."""
    tail: SamplerTail
    kept: Bounded
    """How many tokens can be drawn."""
    u: float
    """The uniform number in [0, 1); greedy sampling does not use it."""
    chance: float
    """The second uniform number in [0, 1), for stages that are applied by chance."""
    drawn: Pick | None
    """None if no token can be drawn, or if it is not among those that are known."""
    greedy: Pick
    """The argmax of the model."""
    uniform: Pick | None
    """What the same u draws if every token of the vocabulary is equally likely, in the model's order; None where the
    token of that rank is not known."""
    problem: str = ""
    """Why no token can be drawn; empty if one can."""
    undecided: str = ""
    """Why the token that u draws is not known; empty if it is."""
    known: int | None = None
    """How many tokens have a known probability, the likeliest ones; None for all."""
    from_logprobs: bool = False
    """Whether log-probabilities stand in the place of logits."""
