"""Owns what a training is decided by: frozen, validated, nothing heavy."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from core.engine.config import ModelConfig
from core.errors import UserError
from core.loading import ladder
from core.loading.choice import Hyperparameters

Vocabulary = Literal["cut", "cl100k", "bytes"]
VOCABULARIES: tuple[Vocabulary, ...] = get_args(Vocabulary)
SIZES = Hyperparameters(context=64)
"""Of a trained rung, where nothing else is said: half of that is more than any text of the tiny world is long."""
LR = {"model1": 1e-2, "model2": 2e-2, "model3": 1e-2}
"""Learning rates of rungs whose first weights are large (torch's defaults, not 0.02); 4e-3 is that of the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One training. Raises `UserError` for a value that none can have."""

    rung: str = "model5"
    changes: Hyperparameters = SIZES
    """Of the rung's sizes."""
    text: str = ""
    """The name of a UTF-8 text; empty for the tiny world."""
    vocabulary: Vocabulary = "cut"
    """Of cl100k what the text uses, all of cl100k, or bytes."""
    steps: int = 1500
    batch: int = 32
    """Sequences in a step, each of T tokens (S5)."""
    stride: int = 1
    """Tokens between the beginnings of neighbouring sequences of a text (S3)."""
    lr: float | None = None
    """The highest learning rate: reached after the warm-up, then a cosine down to 0. None is the rung's own."""
    warmup: int = 50
    """Steps in which the learning rate rises."""
    decay: float = 0.01
    """Weight decay of matrices (Loshchilov & Hutter 2019)."""
    clip: float = 1.0
    """The longest gradient; longer ones are shortened to it."""
    every: int = 50
    """Steps between two measurements, each of which leaves a checkpoint."""
    seed: int = 0
    """Chooses the first weights and the order of the text."""
    probe: str = "I prefer oat milk in"
    """What is looked at while the rung learns."""

    def __post_init__(self) -> None:
        ladder.rung(self.rung, 1, self.changes)
        for label, value in (
            ("number of steps", self.steps),
            ("batch", self.batch),
            ("stride", self.stride),
            ("number of steps between measurements", self.every),
        ):
            if value < 1:
                raise UserError(f"the {label} must be at least 1, not {value}")
        if not self.warmup >= 0:
            raise UserError(f"the warm-up must be 0 steps or more, not {self.warmup}")
        if not (math.isfinite(self.peak) and self.peak > 0):
            raise UserError(f"the learning rate must be above 0, not {self.peak:g}")
        if not (math.isfinite(self.decay) and self.decay >= 0):
            raise UserError(f"the weight decay must be 0 or more, not {self.decay:g}")
        if not self.clip > 0:
            raise UserError(f"the longest gradient must be above 0, not {self.clip:g}")
        if not 0 <= self.seed < 2**31:
            raise UserError(f"the seed must be between 0 and 2^31 - 1, not {self.seed}")
        if self.vocabulary not in VOCABULARIES:
            raise UserError(f"no vocabulary {self.vocabulary!r}; choose one of {', '.join(VOCABULARIES)}")

    def config(self, vocab_size: int) -> ModelConfig:
        """The rung over a vocabulary."""
        return ladder.rung(self.rung, vocab_size, self.changes).config

    @property
    def peak(self) -> float:
        """The highest learning rate."""
        return LR.get(self.rung, 4e-3) if self.lr is None else self.lr

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0: a linear warm-up, then a cosine (Loshchilov & Hutter 2017)."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        share = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.peak * (1 + math.cos(math.pi * min(1.0, share))) / 2
