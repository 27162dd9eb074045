"""Finds out what an adapter is: a folder of peft, a GGUF file, or a name of the Hub. Needs no torch."""

from pathlib import Path

from core.bounded import exists, expanded, is_file, is_folder
from core.errors import UserError
from core.formats.weights_file import refuse_pickle
from core.language import _
from core.loading import hub, revisions
from core.loading.adapters import gguf, peft
from core.loading.adapters.stored import StoredAdapter
from core.loading.families.family import Family
from core.progress import Report


def is_adapter_folder(path: Path) -> bool:
    """Whether a folder holds an adapter of peft."""
    return is_file(path / peft.CONFIG)


def named(text: str) -> str:
    """The name of an adapter that a person types: an absolute path, or as it is a name of the Hub.

    So a saved walk finds it again from another folder.
    """
    path = expanded(text)
    return text if not exists(path) and _on_hub(text) else str(path.absolute())


def _on_hub(name: str) -> tuple[str, str] | None:
    """The id and revision that a name means; None where it can only be a path."""
    return None if name.endswith(".gguf") else revisions.split(name)


def locate(name: str) -> Path | None:
    """The folder or .gguf file of an adapter; None where the Hub must be asked. Raises `UserError` for other names."""
    path = expanded(name)
    if name and is_folder(path):
        if is_adapter_folder(path):
            return path
        raise UserError(
            _("{name} is not a LoRA adapter: it has no {config}; choose a folder saved by peft, or a .gguf adapter"),
            name=name,
            config=peft.CONFIG,
        )
    if name and is_file(path):
        refuse_pickle(path)
        if path.name == peft.WEIGHTS and (path.parent / peft.CONFIG).is_file():
            return path.parent
        if path.suffix == ".gguf":
            return path
        raise UserError(_("{name} is not a LoRA adapter; choose a folder saved by peft, or a .gguf adapter"), name=name)
    if found := _on_hub(name):
        return hub.cached_adapter(*found)
    raise UserError(
        _(
            "there is no adapter {name!r}; choose a folder saved by peft (with {config}), a .gguf adapter or "
            "owner/name of the Hugging Face Hub"
        ),
        name=name,
        config=peft.CONFIG,
    )


def fetch(name: str, report: Report | None = None) -> Path:
    """Download an adapter from the Hub and return its folder. Raises `UserError` where that fails."""
    id, revision = revisions.split(name) or (name, revisions.MAIN)
    folder = hub.fetch(id, report, revision, adapter=True)
    if hub.cached_adapter(id, revision) is None:
        raise UserError(
            _("{name} is not a LoRA adapter: it has no {config} with .safetensors weights; choose another"),
            name=name,
            config=peft.CONFIG,
        )
    return folder


def read_adapter(path: Path, family: Family) -> StoredAdapter:
    """The adapter at a path that `locate` gave, for a model of `family`. Raises `UserError` where it cannot be used."""
    return peft.read_peft(path) if path.is_dir() else gguf.read_gguf(path, family.architecture or family.model_type)
