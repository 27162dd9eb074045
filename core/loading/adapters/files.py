"""Finds out what an adapter on the disk is: a folder of peft, or a GGUF file. Needs no torch."""

from pathlib import Path

from core.errors import UserError
from core.formats.weights_file import refuse_pickle
from core.language import _
from core.loading.adapters import gguf, peft
from core.loading.adapters.stored import StoredAdapter
from core.loading.families.family import Family


def is_adapter_folder(path: Path) -> bool:
    """Whether a folder holds an adapter of peft."""
    return (path / peft.CONFIG).is_file()


def locate(name: str) -> Path:
    """The folder or .gguf file of an adapter. Raises `UserError` where `name` is none."""
    path = Path(name).expanduser()
    if name and path.is_dir():
        if is_adapter_folder(path):
            return path
        raise UserError(
            _("{name} is not a LoRA adapter: it has no {config}; choose a folder saved by peft, or a .gguf adapter"),
            name=name,
            config=peft.CONFIG,
        )
    if name and path.is_file():
        refuse_pickle(path)
        if path.name == peft.WEIGHTS and (path.parent / peft.CONFIG).is_file():
            return path.parent
        if path.suffix == ".gguf":
            return path
        raise UserError(_("{name} is not a LoRA adapter; choose a folder saved by peft, or a .gguf adapter"), name=name)
    raise UserError(
        _("there is no adapter {name!r}; choose a folder saved by peft (with {config}), or a .gguf adapter"),
        name=name,
        config=peft.CONFIG,
    )


def read_adapter(path: Path, family: Family) -> StoredAdapter:
    """The adapter at a path that `locate` gave, for a model of `family`. Raises `UserError` where it cannot be used."""
    return peft.read_peft(path) if path.is_dir() else gguf.read_gguf(path, family.architecture or family.model_type)
