"""The trained ladder that comes with tokenwalk: the recipe of each rung, and how its files are made."""

from collections.abc import Generator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from core.atomic import make_folder
from core.loading import ladder
from core.loading.checkpoints import checkpoint, folders
from core.loading.checkpoints.recipe import Recipe
from core.progress import Progress
from core.training.events import CheckpointSaved, Event
from core.training.training import Training

COMMAND = "tokenwalk train --ladder"
"""The command that makes the files; their cards name it."""
STEPS = {"model1": 2000, "model2": 2000, "model3": 4000}
"""Optimizer steps of some rungs; the others have 3000."""


def recipe(rung: str) -> Recipe:
    """The recipe of a rung's trained twin."""
    return Recipe(rung=rung, steps=STEPS.get(rung, 3000), every=250)


def train_ladder(folder: Path) -> Generator[Progress | Event, None, None]:
    """Train every rung on one CPU thread, and write each to a file in `folder`, its weights in fp16.

    Raises `UserError` where a file cannot be written.
    """
    make_folder(folder)
    torch.set_num_threads(1)
    for rung in ladder.NAMES:
        with TemporaryDirectory() as checkpoints:
            training = Training(recipe(rung), Path(checkpoints), torch.device("cpu"), COMMAND)
            yield from training.run()
            assert training.trainer is not None
            path = folder / f"{rung}{folders.SUFFIX}.safetensors"
            checkpoint.write_checkpoint(path, training.card(), training.trainer.model.to(torch.float16))
            yield CheckpointSaved(training.trainer.step, path)
