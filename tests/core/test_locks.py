"""One process at a time writes into a folder."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.errors import UserError
from core.loading.checkpoints.recipe import Recipe
from core.locks import only_writer
from core.training.training import Training

HOLD = """
import pathlib, sys
from core.locks import only_writer
with only_writer(pathlib.Path(sys.argv[1]), ""):
    print("held", flush=True)
    input()
"""


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """A folder that another process holds."""
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    yield folder
    process.communicate("\n", timeout=20)


def test_a_training_that_another_process_runs_is_not_joined(held: Path, recipe: Recipe) -> None:
    """Refused before anything is read, and its folder stays."""
    training = Training(recipe, held, torch.device("cpu"))
    with pytest.raises(UserError, match="run is in use by another tokenwalk; wait"):
        next(training.run())
    assert training.trainer is None
    assert held.is_dir()


def test_the_lock_ends_with_its_block_and_with_its_process(held: Path, tmp_path: Path) -> None:
    """An empty folder is removed, one with files stays."""
    for name, writes in (("a", False), ("b", True)):
        for _ in range(2):
            with only_writer(tmp_path / name, ""):
                if writes:
                    (tmp_path / name / "x").write_text("x")
                with pytest.raises(UserError), only_writer(tmp_path / name, ""):
                    pass
        assert (tmp_path / name).exists() is writes


def test_a_training_can_be_stopped_and_continued(recipe: Recipe, tmp_path: Path) -> None:
    """In the same process, by the same object and by another."""
    training = Training(recipe, tmp_path / "run", torch.device("cpu"))
    running = training.run()
    next(running)
    running.close()
    list(training.run())
    list(Training.resumed(tmp_path / "run", torch.device("cpu")).run())
