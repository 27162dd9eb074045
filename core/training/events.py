"""Owns what a training says: frozen values, no tensors. Losses are nats a token."""

from dataclasses import dataclass
from pathlib import Path

from core.sampling.values import Chart
from core.world.machine import Floors


@dataclass(frozen=True, slots=True)
class Begun:
    """All is there to train; nothing was learned yet, or not since a checkpoint."""

    title: str
    corpus: str
    parameters: int
    vocab_size: int
    context: int
    steps: int
    ln_v: float
    """The loss of guessing evenly among all tokens (S11)."""
    floors: Floors | None
    """The lowest losses there are; None where the truth is not known."""
    step: int
    """Steps taken already."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """One step of the optimizer."""

    step: int
    """Steps taken, this one too."""
    loss: float
    """Of its batch, before it."""
    lr: float
    grad_norm: float
    """Before it was shortened."""
    tokens_per_second: float
    """Of the last steps."""
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What the rung is worth after some steps."""

    step: int
    loss: float
    """Mean over the validation text."""
    chart: Chart
    """What it says comes after the probe."""
    sample: str
    """How it goes on from the probe, always taking the likeliest."""


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """The rung as it was measured can be walked from a file."""

    step: int
    path: Path


@dataclass(frozen=True, slots=True)
class Ended:
    """There are no more steps, or there must be none."""

    step: int
    problem: str = ""
    """Why it ended early."""


Event = Begun | Stepped | Evaluated | CheckpointSaved | Ended
