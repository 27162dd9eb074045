"""Owns the trained ladder that comes with tokenwalk: its recipes, its files, and how they are made."""

from collections.abc import Generator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from core.loading import ladder
from core.loading.checkpoints import checkpoint, folders
from core.loading.checkpoints.recipe import Recipe
from core.progress import Progress
from core.training.events import CheckpointSaved, Event
from core.training.training import Training

COMMAND = "tokenwalk train --ladder"
STEPS = {"model1": 2000, "model2": 2000, "model3": 4000}
"""Of rungs that learn otherwise than the larger ones."""


def recipe(rung: str) -> Recipe:
    """How the trained twin of a rung is made."""
    return Recipe(rung=rung, steps=STEPS.get(rung, 3000), every=250)


def make(folder: Path) -> Generator[Progress | Event, None, None]:
    """Train every rung on one thread of the CPU, and put it into `folder` in 16 bits.

    Raises `UserError` where it cannot be written.
    """
    folders.create(folder)
    torch.set_num_threads(1)
    for rung in ladder.NAMES:
        with TemporaryDirectory() as place:
            training = Training(recipe(rung), Path(place), torch.device("cpu"), COMMAND)
            yield from training.go()
            assert training.trainer is not None
            target = folder / f"{rung}{folders.SUFFIX}.safetensors"
            checkpoint.write_checkpoint(target, training.card(), training.trainer.model.to(torch.float16))
            yield CheckpointSaved(training.trainer.step, target)
