"""The status of a training: its events so far, collected in one frozen value. Imports no torch."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from core.errors import UserError
from core.loading.checkpoints.recipe import Recipe
from core.progress import Progress
from core.training.events import Begun, CheckpointSaved, Ended, Evaluated, Event, Stepped

State = Literal["preparing", "training", "paused", "ended"]


@dataclass(frozen=True, slots=True)
class EvaluatedStep:
    """A step at which the model was evaluated."""

    step: int
    loss: float
    """Held-out loss, nats per token."""
    evaluation: Evaluated | None
    """None where it was done in an earlier run, of which the checkpoint keeps the loss only."""
    path: Path | None
    """The checkpoint file; None where it was deleted."""


@dataclass(frozen=True, slots=True)
class TrainingStatus:
    """All that is known of a training."""

    recipe: Recipe
    name: str
    """The name that its model is loaded by."""
    state: State = "preparing"
    reading: Progress | None = None
    """Bytes of the text that are tokenized, while that is done."""
    begun: Begun | None = None
    last: Stepped | None = None
    """The last step."""
    losses: tuple[tuple[int, float], ...] = ()
    """(step, loss of its batch), nats per token."""
    evaluations: tuple[Evaluated, ...] = ()
    """The evaluations of this run, in order."""
    saved: tuple[CheckpointSaved, ...] = ()
    """The checkpoints, in order."""
    earlier_losses: tuple[tuple[int, float], ...] = ()
    """(step, held-out loss) of the evaluations before it was resumed."""
    problem: UserError | str = ""
    """Why it stopped, where nobody asked it to; empty without a problem."""

    def after(self, event: Progress | Event) -> "TrainingStatus":
        """The status after one more event. Evaluations and checkpoints of later steps are dropped."""
        match event:
            case Progress():
                return replace(self, reading=event)
            case Begun():
                return replace(self, state="training", begun=event, reading=None, problem="")
            case Stepped():
                return replace(self, state="training", last=event, losses=(*self.losses, (event.step, event.loss)))
            case Evaluated():
                evaluations = tuple(each for each in self.evaluations if each.step < event.step)
                return replace(self, evaluations=(*evaluations, event))
            case CheckpointSaved():
                saved = tuple(each for each in self.saved if each.step < event.step)
                return replace(self, saved=(*saved, event))
            case Ended():
                state: State = "paused" if event.problem else "ended"
                return replace(self, state=state, problem=event.problem or "")

    @property
    def step(self) -> int:
        """Steps done."""
        return self.last.step if self.last else self.begun.step if self.begun else 0

    @property
    def evaluated_steps(self) -> tuple[EvaluatedStep, ...]:
        """All evaluations, those of earlier runs included, in order of their steps."""
        paths = {each.step: each.path for each in self.saved}
        evaluations = {each.step: each for each in self.evaluations}
        losses = dict(self.earlier_losses) | {step: each.loss for step, each in evaluations.items()}
        return tuple(
            EvaluatedStep(step, losses[step], evaluations.get(step), paths.get(step)) for step in sorted(losses)
        )
