"""The settings of a training."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from core.engine.config import ModelConfig
from core.errors import UserError
from core.language import N_, _
from core.loading import ladder
from core.loading.choice import Hyperparameters

Vocabulary = Literal["cut", "cl100k", "bytes"]
VOCABULARIES: tuple[Vocabulary, ...] = get_args(Vocabulary)
SIZES = Hyperparameters(context=64)
"""Default sizes of a trained rung. Texts of the tiny world have at most 32 tokens."""
LR = {"model1": 1e-2, "model2": 2e-2, "model3": 1e-2}
"""Default learning rates of rungs initialized with torch's defaults (larger than 0.02); the others have 4e-3."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The settings of one training. Raises `UserError` for a value out of range."""

    rung: str = "model5"
    changes: Hyperparameters = SIZES
    """Changed sizes of the rung."""
    text: str = ""
    """The path of a UTF-8 text; empty for the tiny world."""
    vocabulary: Vocabulary = "cut"
    """`cut`: cl100k pruned to what the text uses; `cl100k`: all of it; `bytes`: a token per byte."""
    steps: int = 1500
    batch: int = 32
    """Sequences per step, of T tokens each."""
    stride: int = 1
    """Tokens between the beginnings of neighbouring sequences of a text."""
    lr: float | None = None
    """The highest learning rate, reached after the warm-up; a cosine then lowers it to 0. None: the rung's default."""
    warmup: int = 50
    """Steps of the linear learning-rate warm-up."""
    decay: float = 0.01
    """Weight decay of matrices (Loshchilov & Hutter 2019)."""
    clip: float = 1.0
    """Gradient clipping: the largest norm of the whole gradient."""
    every: int = 50
    """Steps between two evaluations; each evaluation writes a checkpoint."""
    seed: int = 0
    """Seed of the initial weights and of the order of sequences."""
    probe: str = "I prefer oat milk in"
    """A prompt whose next-token distribution is shown during training."""

    def __post_init__(self) -> None:
        ladder.rung(self.rung, 1, self.changes)
        for label, value in (
            (N_("number of steps"), self.steps),
            (N_("batch"), self.batch),
            (N_("stride"), self.stride),
            (N_("number of steps between evaluations"), self.every),
        ):
            if value < 1:
                raise UserError(_("the {label} must be at least 1, not {value}"), label=_(label), value=value)
        if not self.warmup >= 0:
            raise UserError(_("the warm-up must be 0 steps or more, not {warmup}"), warmup=self.warmup)
        if not (math.isfinite(self.peak) and self.peak > 0):
            raise UserError(_("the learning rate must be above 0, not {peak:g}"), peak=self.peak)
        if not (math.isfinite(self.decay) and self.decay >= 0):
            raise UserError(_("the weight decay must be 0 or more, not {decay:g}"), decay=self.decay)
        if not self.clip > 0:
            raise UserError(_("the norm that gradients are clipped to must be above 0, not {clip:g}"), clip=self.clip)
        if not 0 <= self.seed < 2**31:
            raise UserError(_("the seed must be between 0 and 2^31 - 1, not {seed}"), seed=self.seed)
        if self.vocabulary not in VOCABULARIES:
            raise UserError(
                _("there is no vocabulary {vocabulary!r}; choose one of {choices}"),
                vocabulary=self.vocabulary,
                choices=", ".join(VOCABULARIES),
            )

    def config(self, vocab_size: int) -> ModelConfig:
        """The rung's configuration for V token ids."""
        return ladder.rung(self.rung, vocab_size, self.changes).config

    @property
    def peak(self) -> float:
        """The highest learning rate."""
        return LR.get(self.rung, 4e-3) if self.lr is None else self.lr

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, from 0: a linear warm-up, then a cosine (Loshchilov & Hutter 2017, eq. 5)."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        share = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.peak * (1 + math.cos(math.pi * min(1.0, share))) / 2
