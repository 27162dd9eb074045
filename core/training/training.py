"""Owns a training from the first line of text to the last checkpoint: what runs, what lies on the disk, going on."""

from collections.abc import Generator, Iterator
from pathlib import Path

import torch

from core.errors import Mistake
from core.events import Reading
from core.training import card as cards
from core.training import checkpoint, places
from core.training.card import Card
from core.training.events import Event, Measured, Saved
from core.training.places import LATEST, STEP
from core.training.recipe import Recipe
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
        """The training whose latest checkpoint lies in a folder. Raises `Mistake` where there is none."""
        if not (path := folder / LATEST).is_file():
            raise Mistake(f"there is no training to go on with in {folder}")
        card = cards.read(path)
        if card is None:
            raise Mistake(f"{path} is no checkpoint of tokenwalk")
        return cls(card.recipe, folder, device, card.command)

    def go(self) -> Generator[Reading | Event, None, None]:
        """Train, or train on from where it was left. Raises `Mistake`, after which it may be gone on with, too."""
        if self.trainer is None:
            yield from self._prepare()
        assert self.trainer is not None
        try:
            for event in self.trainer.run():
                yield event
                if isinstance(event, Measured) and self.trainer.rank == 0:
                    self.losses = [*(each for each in self.losses if each[0] < event.step), (event.step, event.loss)]
                    yield Saved(event.step, self._save(event.step))
        except GeneratorExit:  # it is left here, and perhaps never gone on with in this process
            self._save_latest()
            raise

    def _prepare(self) -> Iterator[Reading]:
        for read in corpus(self.recipe):
            if isinstance(read, Reading):
                yield read
            else:
                trainer = Trainer(self.recipe, read, self.device)
        if (self.folder / LATEST).is_file():
            self._take_up(trainer)
        self.trainer = trainer

    def _take_up(self, trainer: Trainer) -> None:
        found = checkpoint.read(self.folder / LATEST)
        if found.card.recipe != self.recipe:
            raise Mistake(f"{self.folder} holds a training by another recipe; choose another name, or go on with that")
        if found.card.corpus_sha256 != trainer.corpus.sha256:
            raise Mistake(f"{trainer.corpus.words} is not the text it was before; train anew under another name")
        if not found.moments:
            raise Mistake(f"{self.folder / LATEST} is a rung that has stopped learning; train anew under another name")
        found.fill(trainer.model)
        trainer.remember(found.card.step, found.moments)
        trainer.loss = found.card.loss
        self.losses = [*found.card.losses]

    def _save(self, step: int) -> Path:
        """The rung as it is now: one file to walk from, and the latest, from which it learns on."""
        assert self.trainer is not None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Mistake(f"{self.folder} cannot be made: {error.strerror}") from error
        checkpoint.write(path := self.folder / STEP.format(step), self.card(), self.trainer.model)
        self._save_latest()
        self._thin_out()
        return path

    def _save_latest(self) -> None:
        if self.trainer and self.trainer.rank == 0 and self.folder.is_dir():
            checkpoint.write(self.folder / LATEST, self.card(), self.trainer.model, self.trainer.moments())

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
        kept = places.steps(self.folder)
        size = kept[-1][1].stat().st_size
        while len(kept) > max(2, min(MOST, ROOM // size)):
            gaps = [after - before for (before, _), (after, _) in zip(kept, kept[2:], strict=False)]
            kept.pop(1 + gaps.index(min(gaps)))[1].unlink()
