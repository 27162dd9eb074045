"""Owns a training from the first line of text to the last checkpoint: what runs, what lies on the disk, going on."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import platformdirs
import torch
from torch import Tensor

from core.errors import Mistake
from core.events import Reading
from core.training import checkpoint
from core.training.checkpoint import MOMENTS, Card
from core.training.events import Begun, Ended, Event, Measured, Saved
from core.training.recipe import Recipe
from core.training.trainer import Trainer, corpus

LATEST = "latest.safetensors"
STEP = "step-{:07}.safetensors"
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
        card = checkpoint.card(path)
        if card is None:
            raise Mistake(f"{path} is no checkpoint of tokenwalk")
        return cls(card.recipe, folder, device, card.command)

    def go(self) -> Iterator[Reading | Event]:
        """Train, or train on from where it was left. Raises `Mistake`, after which it may be gone on with, too."""
        if self.trainer is None:
            yield from self._prepare()
        assert self.trainer is not None
        for event in self.trainer.run():
            yield event
            if isinstance(event, Measured) and self.trainer.rank == 0:
                self.losses = [*(each for each in self.losses if each[0] < event.step), (event.step, event.loss)]
                yield Saved(event.step, self._save(event.step))

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
        self.losses = [*found.card.losses]

    def _save(self, step: int) -> Path:
        """The rung as it is now: one file to walk from, and the latest, from which it learns on."""
        assert self.trainer is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        card, model = self.card(), self.trainer.model
        checkpoint.write(path := self.folder / STEP.format(step), card, model)
        checkpoint.write(self.folder / LATEST, card, model, self.trainer.moments())
        self._thin_out()
        return path

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
        kept = sorted(self.folder.glob(STEP.replace("{:07}", "*")))
        size = kept[-1].stat().st_size
        while len(kept) > max(2, min(MOST, ROOM // size)):
            steps = [int(path.stem.removeprefix("step-")) for path in kept]
            gaps = [after - before for before, after in zip(steps, steps[2:], strict=False)]
            kept.pop(1 + gaps.index(min(gaps))).unlink()


def home() -> Path:
    """Where trainings are kept, a folder each."""
    return platformdirs.user_data_path("tokenwalk") / "trained"


def free(recipe: Recipe) -> Path:
    """A folder that no training has yet, named for the rung and its text."""
    stem = f"{recipe.rung}-{Path(recipe.text).stem.lower().replace(' ', '-') if recipe.text else 'world'}"
    names = (f"{stem}{f'-{n}' if n > 1 else ''}" for n in count(1))
    return next(home() / name for name in names if not (home() / name).exists())
