"""Values that explain one draw stage by stage; no tensors."""

from dataclasses import dataclass

from core.sampling.sampler import Order, Sampler
from core.sampling.values import SamplerStage, StageName


@dataclass(frozen=True, slots=True)
class SamplerRow:
    """One token and what each stage did to it."""

    id: int
    piece: bytes
    rank: int
    """0 is the likeliest token."""
    logit: float
    shares: tuple[float, ...]
    """Its probability after each stage of `SamplerLens.stages`; `SamplerStage.mass` is the sum over all tokens."""
    cut_by: StageName | None
    """The first stage that removed it; None if it can be drawn."""
    interval: tuple[float, float]
    """[from, to): the values of u that draw it; empty if it was removed."""


@dataclass(frozen=True, slots=True)
class SamplerTail:
    """The tokens after the rows, summed."""

    count: int
    kept: int
    """How many of them can be drawn."""
    shares: tuple[float, ...]
    """Their summed probability after each stage."""
    interval: tuple[float, float]
    """[from, 1): the values of u that draw one of them; empty if all were removed."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What one stage removed."""

    name: StageName
    count: int
    """Tokens that it removed."""
    mass: float
    """Their probability over the whole vocabulary; the masses of all cuts add up."""
    share: float
    """Their probability among the tokens that reached the stage."""


@dataclass(frozen=True, slots=True)
class Pick:
    """A token that one way of choosing gives."""

    id: int
    piece: bytes
    rank: int
    probability: float
    """softmax(logits), before temperature and cuts."""
    share: float
    """Its probability in the distribution it was drawn from."""
    interval: tuple[float, float]
    """[from, to): the values of u that draw it."""


@dataclass(frozen=True, slots=True)
class OtherOrder:
    """What the same settings select with temperature applied at the other end."""

    order: Order
    stages: tuple[SamplerStage, ...]
    """What each stage leaves in that order."""
    only_here: tuple[int, ...]
    """Ids of rows that only the present order selects."""
    only_there: tuple[int, ...]
    """Ids of rows that only the other order selects."""


@dataclass(frozen=True, slots=True)
class SamplerLens:
    """Why a token was drawn: every stage side by side, the number u, and the token it selects."""

    sampler: Sampler
    stages: tuple[SamplerStage, ...]
    """In the order applied, from `raw` to `renormalised`."""
    cuts: tuple[Cut, ...]
    """Of the stages between those two, in their order; a stage that is off removed nothing."""
    rows: tuple[SamplerRow, ...]
    """Likeliest first; equally likely ones by id."""
    tail: SamplerTail
    u: float
    """The uniform number in [0, 1); greedy sampling does not use it."""
    drawn: Pick
    greedy: Pick
    """The argmax."""
    uniform: Pick
    """What the same u draws if every token of the vocabulary is equally likely, in the same order."""
    other: OtherOrder
