"""One token of a generated sequence and how it was chosen."""

from dataclasses import dataclass
from typing import Literal

from core.loading.info import ModelInfo
from core.sampling.sampler import Sampler
from core.sampling.values import Score

Origin = Literal["prompt", "sampled", "chosen"]


@dataclass(frozen=True, slots=True)
class Token:
    """One token of the walk."""

    id: int
    piece: bytes
    origin: Origin = "prompt"
    score: Score | None = None
    """None for the first token, which nothing predicts, and until it has been measured."""
    u: float | None = None
    sampled_probability: float | None = None
    redraw: int = 0
    """How often this place was drawn again."""
    sampler: Sampler | None = None
    """The settings it was drawn with."""
    model: "ModelInfo | None" = None
    """The model that proposed it; None for the prompt."""
