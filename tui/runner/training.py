"""Trains a rung on the runner's thread, one step at a time, whenever the walk asks for nothing."""

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import UserError, out_of_memory
from core.language import _

if TYPE_CHECKING:
    from core.loading.checkpoints.recipe import Recipe
    from core.training.status import TrainingStatus
    from core.training.training import Training


class TrainingJob:
    """At most one training. `report` is called with its status after each change, before an error is raised."""

    def __init__(self, report: Callable[["TrainingStatus"], None]) -> None:
        self._report = report
        self.status: TrainingStatus | None = None
        self._training: Training | None = None
        self._steps: Generator[Any, None, None] | None = None

    @property
    def running(self) -> bool:
        """Whether `step` has something to do."""
        return self._steps is not None

    def start(self, recipe: "Recipe", folder: Path) -> None:
        """Train by `recipe` in `folder`; continues from the newest checkpoint that is there. Ends the training before.

        Raises `UserError` where a checkpoint cannot be read.
        """
        from core.causal.heads import head_moment  # noqa: PLC0415
        from core.engine.device import resolve  # noqa: PLC0415
        from core.loading.checkpoints import card as cards  # noqa: PLC0415
        from core.loading.checkpoints import folders  # noqa: PLC0415
        from core.training.events import CheckpointSaved  # noqa: PLC0415
        from core.training.status import TrainingStatus  # noqa: PLC0415
        from core.training.training import Training  # noqa: PLC0415

        latest = folder / folders.LATEST
        card = cards.read_card(latest) if latest.is_file() else None
        self._close_steps()
        self._training = Training(recipe, folder, resolve("auto"), observe=head_moment)
        saved = tuple(CheckpointSaved(step, path) for step, path in folders.steps(folder))
        self.status = TrainingStatus(recipe, folder.name, saved=saved, earlier_losses=card.losses if card else ())
        self.resume()

    def resume(self) -> None:
        """Go on after a pause or a problem."""
        if self._training:
            self._change(state="preparing", problem="")
            self._close_steps()
            self._steps = self._training.run()

    def pause(self) -> None:
        """Wait until `resume`; the state is saved. Raises `UserError` where it cannot be written."""
        if self._training:
            self._change(state="paused", problem="")
            self._close_steps()

    def stop(self) -> None:
        """End the training; its checkpoints stay. Raises `UserError` where the last cannot be written."""
        if self._training:
            self._change(state="ended", problem="")
            self._close_steps()
            self._training = None

    def step(self) -> bool:
        """Do one step; whether the training goes on. An error pauses it and becomes the `problem` of its status."""
        assert self._steps is not None and self.status is not None
        try:
            self.status = self.status.after(next(self._steps))
        except StopIteration:
            self._steps = None
        except Exception as error:
            self._steps = None
            self._change(state="paused", problem=error if isinstance(error, UserError) else describe(error))
        else:
            self._report(self.status)
        return self.running

    def _change(self, **fields: Any) -> None:
        assert self.status is not None
        self.status = replace(self.status, **fields)
        self._report(self.status)

    def _close_steps(self) -> None:
        """Leave the training between two steps, which saves it."""
        steps, self._steps = self._steps, None
        if steps:
            steps.close()


def describe(error: Exception) -> str:
    """One line for an error that is no `UserError`: the size for a lack of memory, else its type and text."""
    reason = (str(error).splitlines() or [_("no reason given")])[0]
    return out_of_memory(error) or f"{type(error).__name__}: {reason}"
