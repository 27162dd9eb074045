"""What a training reports while it runs: frozen values without tensors. Losses are in nats per token."""

from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError
from core.sampling.values import Chart
from core.world.automaton import Floors


@dataclass(frozen=True, slots=True)
class Begun:
    """The corpus and the model are ready. Steps follow, after those of an earlier run where it was resumed."""

    title: str
    """Name of the rung and what it adds."""
    corpus: str
    """Name of the text."""
    parameters: int
    vocab_size: int
    context: int
    steps: int
    """Steps of the whole training."""
    ln_v: float
    """Loss of the uniform distribution over V tokens, about that of untrained weights."""
    floors: Floors | None
    """The lowest possible losses; None where the true distribution of the text is unknown."""
    step: int
    """Steps done before this run."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """One step of the optimizer."""

    step: int
    """Steps done, this one included."""
    loss: float
    """Loss of its batch, before the weights changed."""
    lr: float
    """Its learning rate."""
    grad_norm: float
    """L2 norm of the gradient before clipping."""
    tokens_per_second: float
    """Mean of the last steps."""
    seconds_left: float
    """Estimated time to the last step; without evaluations."""


@dataclass(frozen=True, slots=True)
class HeadMoment:
    """Mean attention weights of each head, [layers][heads], from 0 to 1."""

    previous: tuple[tuple[float, ...], ...]
    """To the token before, on random tokens that are repeated."""
    induction: tuple[tuple[float, ...], ...]
    """To the token after an earlier copy, on the same tokens."""
    copied: tuple[tuple[float, ...], ...]
    """To earlier copies of the token that comes next, on text of the training's kind."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An evaluation of the model after some steps."""

    step: int
    loss: float
    """Held-out loss."""
    chart: Chart
    """The distribution of the token after the probe."""
    sample: str
    """The greedy continuation of the probe."""
    heads: HeadMoment | None = None
    """What the heads attend to; None where it is not measured, or there are none."""


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """The model of the last evaluation is in a file, from which it can be loaded."""

    step: int
    path: Path


@dataclass(frozen=True, slots=True)
class Ended:
    """The last event: all steps are done, or the training cannot continue."""

    step: int
    problem: UserError | None = None
    """Why it ended before its last step."""


Event = Begun | Stepped | Evaluated | CheckpointSaved | Ended
