"""One token of a generated sequence and how it was chosen."""

from dataclasses import dataclass
from typing import Literal

from core.loading.info import ModelInfo
from core.sampling.bounds import Bounded
from core.sampling.sampler import Sampler
from core.sampling.values import Score

Origin = Literal["prompt", "sampled", "chosen"]


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a walk, which records how it was chosen."""

    id: int
    piece: bytes
    origin: Origin = "prompt"
    score: Score | None = None
    """None for the first token, which nothing predicts, and until it is scored."""
    u: float | None = None
    """The uniform number that drew it; None if it was not drawn, or greedily."""
    sampled_probability: Bounded | None = None
    """Its probability after temperature and cuts; None if it was not drawn."""
    redraw: int = 0
    """How often this position was drawn before with the same seed and model."""
    sampler: Sampler | None = None
    """The settings it was drawn with."""
    model: ModelInfo | None = None
    """The model that drew it or that it was chosen in; None for the prompt."""
    role: str = ""
    """In a conversation, who says a token that was given: `system`, `user` and so on, or `template` for what stands
    around messages. Empty for tokens that the model generated, and where there is no chat template."""
