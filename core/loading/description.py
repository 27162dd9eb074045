"""Describes a model by its files: family, `ModelConfig`, tensors and their names. Reads no weights, needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.engine.config import ModelConfig
from core.errors import UserError
from core.formats import gguf_types
from core.formats.checked import CheckedValues, read_json
from core.formats.tensors import StoredTensor, WeightsFile
from core.formats.weights_file import PICKLE_SUFFIXES, read_weights_file, refuse_pickle
from core.loading.families import FAMILIES
from core.loading.families.family import Family, KeyMap, Layouts

COMPUTED = (
    ".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq",
    "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight",
)  # fmt: skip
"""Ends of the names of tensors that are not parameters: masks and rotary angles, which the model computes."""
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """A model as its files describe it."""

    family: str
    """The family's title."""
    config: ModelConfig
    source: str
    """The file that the configuration comes from, for error texts."""
    names: KeyMap
    tensors: Mapping[str, StoredTensor]
    """By their names in the files, without the family's prefix."""
    layouts: Layouts
    """By the names of modules in `names`."""
    format: str = ""
    """What the number formats of a GGUF file are called together, such as Q4_K_M; empty for other files."""


def describe(path: Path) -> ModelDescription:
    """The model in a folder or .gguf file.

    Raises `UserError` for what is not a model, is broken or incomplete, or of a family that is not supported.
    """
    return _describe_folder(path) if path.is_dir() else _describe_gguf(path)


def read_metadata(path: Path) -> tuple[CheckedValues, int]:
    """config.json of a folder or the metadata of a .gguf file, and V. Opens no weights of a folder."""
    if path.is_dir():
        values = read_config(path)
        return values, values.count("vocab_size")
    file = read_weights_file(path)
    return CheckedValues(path.name, file.metadata, _ADVICE), _gguf_vocab_size(file)


def read_config(folder: Path) -> CheckedValues:
    """config.json of a model folder. Raises `UserError` where the folder is not one."""
    path = folder / "config.json"
    if not path.exists():
        raise UserError(
            f"{folder} is not a model folder: it has no config.json (a model folder holds config.json, .safetensors "
            "weights and a tokenizer); choose another folder or a .gguf file"
        )
    return read_json(path)


_ADVICE = "download the model again"


def _family(values: CheckedValues, key: str) -> Family:
    """The family that `key` names. Raises `UserError` where it is not supported."""
    if (model_type := values.get(key, "")) in FAMILIES:
        return FAMILIES[model_type]
    found = f"{key} is {model_type!r}, a family that is not supported" if model_type else f"{key} is missing"
    titles = ", ".join("Llama (SmolLM2 too)" if each == "llama" else FAMILIES[each].title for each in FAMILIES)
    raise UserError(f"{values.source}: {found} (supported: {titles}); choose another model")


# A folder in the layout of Hugging Face ------------------------------------------------------------------------------


def _describe_folder(folder: Path) -> ModelDescription:
    values = read_config(folder)
    family = _family(values, "model_type")
    if method := values.optional_object("quantization_config").get("quant_method", ""):
        raise UserError(
            f"{values.source}: quant_method is {method!r}, which is not supported; "
            "get the model with unquantized weights, or as .gguf"
        )
    stored = _read_folder(folder)
    return ModelDescription(
        family=family.title,
        config=family.config(values),
        source=values.source,
        names=family.names,
        tensors={name.removeprefix(family.prefix): tensor for name, tensor in stored.items()},
        layouts=family.layouts,
    )


def _read_folder(folder: Path) -> dict[str, StoredTensor]:
    """All tensors of a folder, from the files that its index names or else from those that are there."""
    index = folder / INDEX
    if index.exists():
        names = sorted({str(name) for name in read_json(index).optional_object("weight_map").values.values()})
        paths = [folder / Path(name).name for name in names]
        if missing := [path.name for path in paths if not path.exists()]:
            raise UserError(
                f"{folder} is not complete: {len(missing)} of {len(paths)} files of weights are missing, "
                f"such as {missing[0]}; {_ADVICE}"
            )
    else:
        paths = [folder / "model.safetensors"] if (folder / "model.safetensors").exists() else []
        paths = paths or sorted(folder.glob("*.safetensors"))
    if not paths:
        for path in sorted(folder.iterdir()):
            if path.suffix in PICKLE_SUFFIXES:
                refuse_pickle(path)
        raise UserError(f"{folder} has no .safetensors file; {_ADVICE}")
    return {name: stored for path in paths for name, stored in read_weights_file(path).tensors.items()}


# GGUF ----------------------------------------------------------------------------------------------------------------


def _gguf_vocab_size(file: WeightsFile) -> int:
    if "token_embd.weight" not in file.tensors:
        raise UserError(f"{file.path.name} is not a complete model: it has no token_embd.weight; {_ADVICE}")
    return file.tensors["token_embd.weight"].shape[0]


def _describe_gguf(path: Path) -> ModelDescription:
    file = read_weights_file(path)
    vocab_size = _gguf_vocab_size(file)
    family = _family(CheckedValues(path.name, file.metadata), "general.architecture")
    prefix = f"{family.model_type}."
    values = CheckedValues(
        path.name, {key.removeprefix(prefix): value for key, value in file.metadata.items()}, _ADVICE
    )
    values.require("expert_count", 0)
    return ModelDescription(
        family=family.title,
        config=family.gguf_config(values, file.tensors, vocab_size),
        source=values.source,
        names=family.gguf_names,
        tensors=file.tensors,
        layouts=family.gguf_layouts,
        format=gguf_types.name(file),
    )
