"""Owns a training from the first line of text to the last checkpoint: what runs, what lies on the disk, going on."""

from collections.abc import Generator, Iterator
from pathlib import Path

import torch

from core.errors import UserError
from core.loading.checkpoints import card as cards
from core.loading.checkpoints import checkpoint, folders
from core.loading.checkpoints.card import Card
from core.loading.checkpoints.folders import LATEST, STEP
from core.loading.checkpoints.recipe import Recipe
from core.progress import Progress
from core.training.events import CheckpointSaved, Ended, Evaluated, Event
from core.training.trainer import Trainer, corpus

MOST = 64
"""Checkpoints that are kept to look back at."""
ROOM = 10**9
"""Bytes that they may take together."""


class Training:
    """A recipe at work in a folder. Nothing heavy happens before `go`."""

    def __init__(self, recipe: Recipe, folder: Path, device: torch.device, command: str = "") -> None:
        self.recipe, self.folder, self.device, self.command = recipe, folder, device, command
        self.trainer: Trainer | None = None
        self.losses: list[tuple[int, float]] = []

    @classmethod
    def resumed(cls, folder: Path, device: torch.device) -> "Training":
        """The training whose latest checkpoint lies in a folder. Raises `UserError` where there is none."""
        if not (path := folder / LATEST).is_file():
            raise UserError(f"there is no training to go on with in {folder}")
        card = cards.read_card(path)
        if card is None:
            raise UserError(f"{path} is no checkpoint of tokenwalk")
        return cls(card.recipe, folder, device, card.command)

    def go(self) -> Generator[Progress | Event, None, None]:
        """Train, or train on from where it was left. Raises `UserError`, after which it may be gone on with, too."""
        if self.trainer is None:
            yield from self._prepare()
        assert self.trainer is not None
        try:
            for event in self.trainer.run():
                if isinstance(event, Evaluated) and self.trainer.rank == 0:
                    self.losses = [*(each for each in self.losses if each[0] < event.step), (event.step, event.loss)]
                    path = self._save(event.step)  # first, for who leaves at what was measured
                    yield event
                    yield CheckpointSaved(event.step, path)
                else:
                    yield event
        except GeneratorExit:  # it is left here, and perhaps never gone on with in this process
            if not isinstance(event, Ended):  # a rung that diverged does not take the place of one that had not yet
                self._save_latest()
            raise

    def _prepare(self) -> Iterator[Progress]:
        for read in corpus(self.recipe):
            if isinstance(read, Progress):
                yield read
            else:
                trainer = Trainer(self.recipe, read, self.device)
        if (self.folder / LATEST).is_file():
            self._take_up(trainer)
        self.trainer = trainer

    def _take_up(self, trainer: Trainer) -> None:
        found = checkpoint.read_checkpoint(self.folder / LATEST)
        if found.card.recipe != self.recipe:
            raise UserError(
                f"{self.folder} holds a training by another recipe; choose another name, or go on with that"
            )
        if found.card.corpus_sha256 != trainer.corpus.sha256:
            raise UserError(f"{trainer.corpus.words} is not the text it was before; train anew under another name")
        if found.card.step and not found.moments:
            raise UserError(
                f"{self.folder / LATEST} is a rung that has stopped learning; train anew under another name"
            )
        found.fill(trainer.model)
        self.losses = [*found.card.losses]
        measured = self.losses[-1][0] if self.losses else -1
        trainer.remember(found.card.step, measured, found.card.loss, found.moments)

    def _save(self, step: int) -> Path:
        """The rung as it is now: one file to walk from, and the latest, from which it learns on."""
        assert self.trainer is not None
        folders.create(self.folder)
        checkpoint.write_checkpoint(path := self.folder / STEP.format(step), self.card(), self.trainer.model)
        self._save_latest()
        self._thin_out()
        return path

    def _save_latest(self) -> None:
        if self.trainer and self.trainer.rank == 0 and self.losses and self.folder.is_dir():
            checkpoint.write_checkpoint(self.folder / LATEST, self.card(), self.trainer.model, self.trainer.moments())

    def card(self) -> Card:
        """What the rung is now."""
        assert self.trainer is not None
        known = self.trainer.corpus
        return Card(
            recipe=self.recipe,
            step=self.trainer.step,
            loss=self.trainer.loss,
            corpus=known.words,
            corpus_sha256=known.sha256,
            tokenizer=known.tokenizer.name,
            originals=known.tokenizer.originals,
            floors=known.floors,
            losses=tuple(self.losses),
            command=self.command,
        )

    def _thin_out(self) -> None:
        """Where there are many, the checkpoint goes whose neighbours are nearest."""
        kept = folders.steps(self.folder)
        size = kept[-1][1].stat().st_size
        while len(kept) > max(2, min(MOST, ROOM // size)):
            gaps = [after - before for (before, _), (after, _) in zip(kept, kept[2:], strict=False)]
            kept.pop(1 + gaps.index(min(gaps)))[1].unlink()
