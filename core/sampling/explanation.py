"""Values that explain one draw stage by stage; no tensors."""

from dataclasses import dataclass

from core.sampling.sampler import Order, Sampler
from core.sampling.values import SamplerStage, StageName


@dataclass(frozen=True, slots=True)
class SamplerRow:
    """One token's way through the sampler."""

    id: int
    piece: bytes
    rank: int
    logit: float
    shares: tuple[float, ...]
    """Its probability after each stage, in the order of `SamplerLens.stages`: what `Stage.mass` is the sum of."""
    cut_by: StageName | None
    """The first stage that did not keep it."""
    interval: tuple[float, float]
    """[from, to): the numbers u that draw it; empty where it was cut."""


@dataclass(frozen=True, slots=True)
class SamplerTail:
    """All tokens after the rows, summed."""

    count: int
    kept: int
    """How many of them could still be drawn."""
    shares: tuple[float, ...]
    """Their probability after each stage."""
    interval: tuple[float, float]
    """[from, 1): the numbers u that draw one of them; empty where all were cut."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What one stage took away."""

    name: StageName
    count: int
    """Tokens that reached it and did not leave it."""
    mass: float
    """Their probability in the distribution it was applied to, over the whole vocabulary: adds up over cuts."""
    share: float
    """The same of what had reached it."""


@dataclass(frozen=True, slots=True)
class Pick:
    """A token and how it came to be the one."""

    id: int
    piece: bytes
    rank: int
    probability: float
    """The model's own."""
    share: float
    """In the distribution it was drawn from."""
    interval: tuple[float, float]
    """[from, to): the numbers u that draw it."""


@dataclass(frozen=True, slots=True)
class OtherOrder:
    """What the same settings keep where temperature has its turn at the other end."""

    order: Order
    stages: tuple[SamplerStage, ...]
    """In that order."""
    only_here: tuple[int, ...]
    """Ids among the rows that the present order keeps and that one does not."""
    only_there: tuple[int, ...]
    """Ids among the rows that it keeps and the present order does not."""


@dataclass(frozen=True, slots=True)
class SamplerLens:
    """Why a token was drawn: every stage side by side, the number u, and what it hit."""

    sampler: Sampler
    stages: tuple[SamplerStage, ...]
    """In the order applied, from `raw` to `renormalised`."""
    cuts: tuple[Cut, ...]
    """Of the stages between those two, in their order; a stage that is off cut nothing."""
    rows: tuple[SamplerRow, ...]
    """Likeliest first; equal ones by id."""
    tail: SamplerTail
    u: float
    """The uniform number in [0, 1); greedy asks for none."""
    drawn: Pick
    greedy: Pick
    """What always taking the likeliest would take."""
    uniform: Pick
    """What the same u takes where every token of the vocabulary has the same share, in the same order (S8)."""
    other: OtherOrder
