"""Where checkpoints are: those shipped with tokenwalk, and one folder per own training. Needs no torch."""

from collections.abc import Iterator
from importlib.resources import files
from itertools import count
from pathlib import Path

import platformdirs

from core.bounded import is_file
from core.loading import ladder
from core.loading.checkpoints.recipe import Recipe

SUFFIX = "-trained"
"""`model5-trained` is the shipped checkpoint of model5."""
SHIPPED = tuple(name + SUFFIX for name in ladder.NAMES)
LATEST = "latest.safetensors"
"""In the folder of a training: the latest checkpoint, from which the training is resumed."""
STEP = "step-{:07}.safetensors"
"""The checkpoint after so many steps."""


def shipped(name: str) -> Path:
    """The file of the shipped checkpoint with that name."""
    return Path(str(files("core") / "trained" / f"{name}.safetensors"))


def home() -> Path:
    """The folder that holds a folder for each training."""
    return platformdirs.user_data_path("tokenwalk") / "trained"


def trainings() -> Iterator[tuple[str, Path]]:
    """Own trainings: the name that the option `model` takes, and the latest checkpoint."""
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
    is_step = at and folder and step.isdecimal() and len(step) < 10
    earlier = home() / folder / STEP.format(int(step)) if is_step else None
    return next((path for path in (home() / name / LATEST, earlier) if path and is_file(path)), None)


def name(path: Path) -> str:
    """What the option `model` takes for a checkpoint: `name@step` for one of an own training, else its path."""
    step = path.stem.removeprefix("step-")
    own = path.parent.parent == home() and path.name == STEP.format(int(step) if step.isdecimal() else 0)
    return f"{path.parent.name}@{int(step)}" if own else str(path)


def steps(folder: Path) -> list[tuple[int, Path]]:
    """(step, file) of each checkpoint of a training, in order of steps."""
    found = ((path.stem.removeprefix("step-"), path) for path in folder.glob("step-*.safetensors"))
    return sorted((int(number), path) for number, path in found if number.isdecimal())


def unused(recipe: Recipe) -> Path:
    """A folder that no training has yet, named after the rung and its text."""
    text = "".join(c if c.isalnum() else "-" for c in Path(recipe.text).stem.lower()) if recipe.text else "world"
    names = (f"{recipe.rung}-{text}{f'-{n}' if n > 1 else ''}" for n in count(1))
    return next(home() / name for name in names if not (home() / name).exists())
