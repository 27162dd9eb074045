"""A training in a folder: reads the corpus, runs the trainer, writes checkpoints, and resumes from the latest one."""

from collections.abc import Generator, Iterator
from pathlib import Path

import torch

from core.atomic import make_folder
from core.errors import UserError
from core.language import _
from core.loading.checkpoints import card as cards
from core.loading.checkpoints import checkpoint, folders
from core.loading.checkpoints.card import Card
from core.loading.checkpoints.folders import LATEST, STEP
from core.loading.checkpoints.recipe import Recipe
from core.locks import only_writer
from core.progress import Progress
from core.training.distributed import is_first_process
from core.training.events import CheckpointSaved, Ended, Evaluated, Event
from core.training.trainer import Observe, Trainer, corpus

MAX_CHECKPOINTS = 64
"""Largest number of checkpoints that are kept, one per evaluation."""
MAX_BYTES = 10**9
"""Largest size of all of them together."""


class Training:
    """A recipe and the folder of its checkpoints. Nothing is read or computed before `run`."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        device: torch.device,
        command: str = "",
        observe: Observe = lambda model, ids: None,
    ) -> None:
        self.recipe, self.folder, self.device, self.command = recipe, folder, device, command
        self._observe = observe
        self.trainer: Trainer | None = None
        """None until the corpus is read."""
        self.losses: list[tuple[int, float]] = []
        """(step, held-out loss in nats per token) of each evaluation."""

    @classmethod
    def resumed(cls, folder: Path, device: torch.device, observe: Observe = lambda model, ids: None) -> "Training":
        """The training whose latest checkpoint is in a folder. Raises `UserError` where there is none."""
        if not (path := folder / LATEST).is_file():
            raise UserError(_("there is no training to resume in {folder}; choose another name"), folder=folder)
        card = cards.read_card(path)
        if card is None:
            raise UserError(_("{path} is not a checkpoint of tokenwalk; choose another folder"), path=path)
        return cls(card.recipe, folder, device, card.command, observe)

    def run(self) -> Generator[Progress | Event, None, None]:
        """Train from the latest checkpoint, or from the beginning. Yields progress in bytes of text, then events.

        Close the iterator to stop; the present state is saved then. Raises `UserError` where something cannot be read
        or written; `run` can be called again afterwards.
        """
        if not is_first_process():
            yield from self._run()
            return
        with only_writer(self.folder, _("wait until that training ends, or choose another name")):
            yield from self._run()

    def _run(self) -> Generator[Progress | Event, None, None]:
        if self.trainer is None:
            yield from self._prepare()
        assert self.trainer is not None
        try:
            for event in self.trainer.run():
                if isinstance(event, Evaluated) and self.trainer.rank == 0:
                    self.losses = [*(each for each in self.losses if each[0] < event.step), (event.step, event.loss)]
                    path = self._save(event.step)  # before the event, whose receiver may stop here
                    yield event
                    yield CheckpointSaved(event.step, path)
                else:
                    yield event
        except GeneratorExit:  # stopped here, and perhaps never resumed in this process
            if not isinstance(event, Ended):  # a model that diverged must not replace its last good checkpoint
                self._save_latest()
            raise

    def _prepare(self) -> Iterator[Progress]:
        """Read the corpus and make the trainer."""
        for item in corpus(self.recipe):
            if isinstance(item, Progress):
                yield item
            else:
                trainer = Trainer(self.recipe, item, self.device, self._observe)
        if (self.folder / LATEST).is_file():
            self._restore(trainer)
        self.trainer = trainer

    def _restore(self, trainer: Trainer) -> None:
        """Continue from the latest checkpoint. Raises `UserError` where that is of another recipe or text."""
        latest = checkpoint.read_checkpoint(self.folder / LATEST)
        if latest.card.recipe != self.recipe:
            raise UserError(
                _("{folder} holds a training with other settings; choose another name, or resume that training"),
                folder=self.folder,
            )
        if latest.card.corpus_sha256 != trainer.corpus.sha256:
            raise UserError(
                _("{name} has changed since this training began; start a new training under another name"),
                name=trainer.corpus.name,
            )
        if latest.card.step and not latest.moments:
            raise UserError(
                _(
                    "{file} has no optimizer state, so its training cannot go on; start a new training under another "
                    "name"
                ),
                file=self.folder / LATEST,
            )
        latest.fill(trainer.model)
        self.losses = [*latest.card.losses]
        evaluated_step = self.losses[-1][0] if self.losses else -1
        trainer.restore(latest.card.step, evaluated_step, latest.card.loss, latest.moments)

    def _save(self, step: int) -> Path:
        """Write the checkpoint of a step, which a walk can load, and the latest one, which training resumes from."""
        assert self.trainer is not None
        make_folder(self.folder)
        checkpoint.write_checkpoint(path := self.folder / STEP.format(step), self.card(), self.trainer.model)
        self._save_latest()
        self._delete_surplus_checkpoints()
        return path

    def _save_latest(self) -> None:
        """Write weights and optimizer moments; nothing before the first evaluation."""
        if self.trainer and self.trainer.rank == 0 and self.losses and self.folder.is_dir():
            checkpoint.write_checkpoint(self.folder / LATEST, self.card(), self.trainer.model, self.trainer.moments())

    def card(self) -> Card:
        """The description of the present model, for its checkpoint."""
        assert self.trainer is not None
        corpus = self.trainer.corpus
        return Card(
            recipe=self.recipe,
            step=self.trainer.step,
            loss=self.trainer.loss,
            corpus=corpus.name,
            corpus_sha256=corpus.sha256,
            tokenizer=corpus.tokenizer.name,
            originals=corpus.tokenizer.originals,
            floors=corpus.floors,
            losses=tuple(self.losses),
            command=self.command,
        )

    def _delete_surplus_checkpoints(self) -> None:
        """Delete, while there are too many, the checkpoint whose two neighbors are nearest. First and last stay."""
        checkpoints = folders.steps(self.folder)
        size = checkpoints[-1][1].stat().st_size
        while len(checkpoints) > max(2, min(MAX_CHECKPOINTS, MAX_BYTES // size)):
            gaps = [after - before for (before, _), (after, _) in zip(checkpoints, checkpoints[2:], strict=False)]
            checkpoints.pop(1 + gaps.index(min(gaps)))[1].unlink()
