"""Owns where trained rungs lie: those that come with tokenwalk, and those that were trained here. No torch."""

from collections.abc import Iterator
from importlib.resources import files
from itertools import count
from pathlib import Path

import platformdirs

from core.errors import UserError
from core.loading import ladder
from core.loading.checkpoints.recipe import Recipe

SUFFIX = "-trained"
"""What the name of a rung's trained twin ends with."""
SHIPPED = tuple(name + SUFFIX for name in ladder.NAMES)
LATEST = "latest.safetensors"
"""In the folder of a training: the rung as it was measured last, from which it learns on."""
STEP = "step-{:07}.safetensors"
"""The rung as it was after so many steps."""


def shipped(name: str) -> Path:
    """Where the trained twin of that name lies."""
    return Path(str(files("core").joinpath("trained", f"{name}.safetensors")))


def home() -> Path:
    """Where trainings are kept, a folder each."""
    return platformdirs.user_data_path("tokenwalk") / "trained"


def make(folder: Path) -> None:
    """Let there be a folder. Raises `UserError` where there cannot."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror}") from error


def here() -> Iterator[tuple[str, Path]]:
    """The trainings kept here: what `--model` takes, and the latest checkpoint."""
    try:
        folders = sorted(home().iterdir())
    except OSError:
        return
    for folder in folders:
        if (path := folder / LATEST).is_file():
            yield folder.name, path


def find(name: str) -> Path | None:
    """The checkpoint that a name, or `name@step`, means; None where it means something else."""
    if name in SHIPPED:
        return shipped(name)
    if not name or name.startswith(".") or Path(name).name != name:
        return None
    folder, at, step = name.rpartition("@")
    known = at and folder and step.isdecimal() and len(step) < 10
    earlier = home() / folder / STEP.format(int(step)) if known else None
    return next((path for path in (home() / name / LATEST, earlier) if path and path.is_file()), None)


def name(path: Path) -> str:
    """What `--model` takes for a checkpoint: `name@step` where it is kept here, else its path."""
    step = path.stem.removeprefix("step-")
    kept = path.parent.parent == home() and path.name == STEP.format(int(step) if step.isdecimal() else 0)
    return f"{path.parent.name}@{int(step)}" if kept else str(path)


def steps(folder: Path) -> list[tuple[int, Path]]:
    """The checkpoints of a training, by their steps."""
    found = ((path.stem.removeprefix("step-"), path) for path in folder.glob("step-*.safetensors"))
    return sorted((int(number), path) for number, path in found if number.isdecimal())


def free(recipe: Recipe) -> Path:
    """A folder that no training has yet, named for the rung and its text."""
    text = "".join(c if c.isalnum() else "-" for c in Path(recipe.text).stem.lower()) if recipe.text else "world"
    names = (f"{recipe.rung}-{text}{f'-{n}' if n > 1 else ''}" for n in count(1))
    return next(home() / name for name in names if not (home() / name).exists())
