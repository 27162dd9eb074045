"""Owns a training as it stands: all that was said of it so far, in one frozen value. No torch."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from core.loading.checkpoints.recipe import Recipe
from core.progress import Progress
from core.training.events import Begun, CheckpointSaved, Ended, Evaluated, Event, Stepped

State = Literal["preparing", "training", "paused", "ended"]


@dataclass(frozen=True, slots=True)
class Moment:
    """A place to look back at."""

    step: int
    loss: float
    """Mean over the validation text."""
    measured: Evaluated | None
    """What was seen there; None where that was before it was taken up again."""
    path: Path | None
    """The checkpoint; None where none was kept."""


@dataclass(frozen=True, slots=True)
class TrainingStatus:
    """What is known of a training."""

    recipe: Recipe
    name: str
    """What `--model` will take."""
    state: State = "preparing"
    reading: Progress | None = None
    """How far its text was read, in bytes, while it is."""
    begun: Begun | None = None
    last: Stepped | None = None
    losses: tuple[tuple[int, float], ...] = ()
    """Steps and the losses of their batches."""
    measured: tuple[Evaluated, ...] = ()
    """Every measurement, by its step."""
    saved: tuple[CheckpointSaved, ...] = ()
    """The checkpoints, by their steps."""
    before: tuple[tuple[int, float], ...] = ()
    """Steps and validation losses from before it was taken up again."""
    problem: str = ""
    """Why it stands, where nobody asked it to."""

    def after(self, event: Progress | Event) -> "TrainingStatus":
        """The same once something more was said."""
        match event:
            case Progress():
                return replace(self, reading=event)
            case Begun():
                return replace(self, state="training", begun=event, reading=None, problem="")
            case Stepped():
                return replace(self, state="training", last=event, losses=(*self.losses, (event.step, event.loss)))
            case Evaluated():
                earlier = tuple(each for each in self.measured if each.step < event.step)
                return replace(self, measured=(*earlier, event))
            case CheckpointSaved():
                earlier_files = tuple(each for each in self.saved if each.step < event.step)
                return replace(self, saved=(*earlier_files, event))
            case Ended():
                return replace(self, state="paused" if event.problem else "ended", problem=event.problem)

    @property
    def step(self) -> int:
        """Steps taken."""
        return self.last.step if self.last else self.begun.step if self.begun else 0

    @property
    def moments(self) -> tuple[Moment, ...]:
        """Where it can be looked back at, by their steps."""
        paths = {each.step: each.path for each in self.saved}
        seen = {each.step: each for each in self.measured}
        losses = dict(self.before) | {step: each.loss for step, each in seen.items()}
        return tuple(Moment(step, losses[step], seen.get(step), paths.get(step)) for step in sorted(losses))
