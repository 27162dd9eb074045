"""The models that can be chosen: the ladder, checkpoints, folders and the caches of this machine. Needs no torch.

It reads a few folders and the tables of files, so it is fast enough for an open screen.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from core.bounded import exists
from core.errors import UserError
from core.formats import gguf
from core.formats.checked import CheckedValues
from core.formats.text import shown
from core.language import _
from core.loading import catalog, hub, ladder
from core.loading.checkpoints import card, folders
from core.loading.description import read_config, read_settings
from core.loading.families import FAMILIES, GGUF_FAMILIES, TITLES
from core.loading.files import check_gguf, parts, read_folder, weights_files


@dataclass(frozen=True, slots=True)
class Offer:
    """A model in the list of models; `problem` says why it cannot be loaded."""

    name: str
    """What the option `model` takes."""
    family: str
    description: str
    """What a rung adds, what a checkpoint was trained on, or where the files are."""
    size_bytes: int | None = None
    """Bytes of weights on the disk; None for random weights."""
    problem: str | None = None


def offers() -> list[Offer]:
    """All models found: rungs, shipped and own checkpoints, SmolLM2, the Hub's cache, own cache, working folder."""
    found = [Offer(rung.name, _(rung.title), _(rung.adds)) for rung in ladder.rungs(vocab_size=1)]
    found += [checkpoint_offer(name, folders.shipped(name)) for name in folders.SHIPPED]
    found += [checkpoint_offer(name, path) for name, path in folders.trainings()]
    found += [
        offer_of(catalog.SMOLLM2, path, _("in the installed package {package}").format(package=catalog.SMOLLM2_PACKAGE))
        for path in catalog.packaged_files()[:1]
    ]
    found += [offer_of(name, path, _("in the Hugging Face cache")) for name, path in hub.all_cached()]
    own = platformdirs.user_cache_path("tokenwalk")
    found += [
        offer_of(_with_tilde(path), path, _("in {folder}").format(folder=_with_tilde(own))) for path in _models_in(own)
    ]
    return found + [offer_of(f".{os.sep}{path.name}", path, _("in the working folder")) for path in _models_in(Path())]


def _with_tilde(path: Path) -> str:
    """The path with `~` for the home folder."""
    home = Path.home()
    return f"~{os.sep}{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def offer_of(name: str, path: Path, location: str) -> Offer:
    """The model in a folder or .gguf file, as it stands in a list; a broken one says why."""
    size = None
    try:
        weights = parts(path) if path.is_file() else weights_files(path)
        size = sum(each.stat().st_size for each in weights if exists(each))
        architecture = shown(_architecture(path))
    except UserError as error:
        return Offer(name, _("unknown"), location, size, str(error))
    family = (GGUF_FAMILIES if path.is_file() else FAMILIES).get(architecture)
    if family is None:
        return Offer(
            name,
            architecture,
            location,
            size,
            _("not a supported family ({choices})").format(choices=", ".join(TITLES)),
        )
    return Offer(name, family.title, location, size, _missing(weights) or _problem(path))


def _missing(weights: Sequence[Path]) -> str | None:
    """What a list of files says of those that are missing."""
    missing = [each.name for each in weights if not exists(each)]
    if not weights:
        return _("its weights are missing")
    return (
        _("{missing} of {count} files are missing, such as {example}").format(
            missing=len(missing), count=len(weights), example=shown(missing[0])
        )
        if missing
        else None
    )


def _problem(path: Path) -> str | None:
    """Why the settings or tables of tensors cannot be read; no weights are."""
    try:
        if path.is_dir():
            read_settings(path)
            read_folder(path)
        else:
            check_gguf(path)
    except UserError as error:
        return str(error)
    return None


def checkpoint_offer(name: str, path: Path) -> Offer:
    """A checkpoint of ours, as it stands in a list."""
    size = path.stat().st_size if path.exists() else None
    try:
        if (found := card.read_card(path)) is None:
            return Offer(
                name,
                _("unknown"),
                _("not a checkpoint"),
                size,
                _("{file} is not a tokenwalk checkpoint").format(file=path.name),
            )
    except UserError as error:
        return Offer(name, _("unknown"), _("a checkpoint"), size, str(error))
    return Offer(name, _(ladder.rung(found.recipe.rung, 1).title), found.origin, size)


def _architecture(path: Path) -> str:
    """The model type as the files name it, such as `llama`."""
    if path.is_file():
        values = CheckedValues(path.name, gguf.read_head(path), _("get a language model"))
        values.require("general.type", "model")
        return values.get("general.architecture", "unknown")
    return read_config(path).get("model_type", "unknown")


def is_gguf_adapter(path: Path) -> bool:
    """Whether a .gguf file says that it is a LoRA adapter; a broken one does not."""
    try:
        return gguf.read_head(path).get("general.type") == "adapter"
    except UserError:
        return False


def _models_in(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for path in entries:
        model_folder = (path / "config.json").is_file() and any(path.glob("*.safetensors"))
        if model_folder or (path.suffix == ".gguf" and path == next(filter(Path.is_file, parts(path)), None)):
            yield path
