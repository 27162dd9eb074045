"""Describes a model by its files: family, `ModelConfig`, tensors and their names. Needs no torch.

It reads no weights, but compares an unembedding that is stored beside the embedding it is tied to.
"""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from core.engine.config import ModelConfig
from core.errors import UserError
from core.formats import gguf_types
from core.formats.checked import CheckedValues, read_json
from core.formats.tensors import StoredTensor, WeightsFile
from core.language import N_, _
from core.loading.families import FAMILIES, GGUF_FAMILIES
from core.loading.families.expert_tensors import each_expert
from core.loading.families.family import Family, KeyMap, Layouts, key_map
from core.loading.families.settings import (
    GGUF_NEUTRAL,
    GGUF_WITHOUT_EFFECT,
    NEUTRAL,
    WITHOUT_EFFECT,
    check_sizes,
    refuse_unread,
)
from core.loading.files import INDEX, WHOLE, read_folder, read_gguf

COMPUTED = (
    ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq",
    "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight",
)  # fmt: skip
"""Ends of the names of tensors that are not parameters: masks and rotary angles, which the model computes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """A model as its files describe it."""

    family: str
    """The family's title."""
    model_type: str
    """The family's key in `FAMILIES`."""
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
    float8_block: tuple[int, int] | None = None
    """Rows and columns that share a scale, where matrices are 8-bit floats with scales."""
    note: str = ""
    """Which files were chosen, where that is not obvious."""


def describe(path: Path) -> ModelDescription:
    """The model in a folder or .gguf file.

    Raises `UserError` for what is not a model, is broken or incomplete, or of a family that is not supported.
    """
    return _describe_folder(path) if path.is_dir() else _describe_gguf(path)


def read_metadata(path: Path) -> tuple[CheckedValues, int]:
    """config.json of a folder or the metadata of a .gguf file, and V. Opens no weights of a folder."""
    if path.is_dir():
        values = read_config(path)
        family = _family(values, "model_type", FAMILIES)
        return values, values.count("vocab_size") if "vocab_size" in values.values else family.config(values).vocab_size
    file = read_gguf(path)
    _family(CheckedValues(file.path.name, file.metadata), "general.architecture", GGUF_FAMILIES)
    return CheckedValues(file.path.name, file.metadata, _(_ADVICE)), _gguf_vocab_size(file)


def read_config(folder: Path) -> CheckedValues:
    """config.json of a model folder. Raises `UserError` where the folder is not one."""
    path = folder / "config.json"
    if not path.exists():
        raise UserError(
            _(
                "{folder} is not a model folder: it has no config.json (a model folder holds config.json, "
                ".safetensors weights and a tokenizer); choose another folder or a .gguf file"
            ),
            folder=folder,
        )
    return read_json(path)


_ADVICE = N_("download the model again")


def _family(values: CheckedValues, key: str, families: Mapping[str, Family]) -> Family:
    """The family that `key` names. Raises `UserError` where it is not supported."""
    if (model_type := values.get(key, "")) in families:
        return families[model_type]
    found = (
        _("{key} is {model_type}, a family that is not supported").format(key=key, model_type=reprlib.repr(model_type))
        if model_type
        else _("{key} is missing").format(key=key)
    )
    if model_type in FAMILIES and not FAMILIES[model_type].gguf_config:
        found = _("{title} is not supported in GGUF, only as a folder with .safetensors files").format(
            title=FAMILIES[model_type].title
        )
    titles = dict.fromkeys("Llama (SmolLM2 too)" if each == "llama" else families[each].title for each in families)
    raise UserError(
        _("{source}: {found} (supported: {choices}); choose another model"),
        source=values.source,
        found=found,
        choices=", ".join(titles),
    )


# A folder in the layout of Hugging Face ------------------------------------------------------------------------------


def read_settings(folder: Path) -> tuple[Family, ModelConfig, CheckedValues]:
    """The family and configuration by config.json alone, and its values. Raises `UserError` as `describe`."""
    values = read_config(folder)
    family = _family(values, "model_type", FAMILIES)
    check_sizes(values)
    config = family.config(values)
    _float8_block(values, family)
    refuse_unread(values, family.title, WITHOUT_EFFECT | family.without_effect, NEUTRAL)
    return family, config, values


def _describe_folder(folder: Path) -> ModelDescription:
    family, config, values = read_settings(folder)
    stored = read_folder(folder)
    tensors = {family.short(name): each for name, each in stored.items() if not name.startswith(family.other_parts)}
    tensors = {**family.arranged(values, tensors)} if family.arranged else tensors
    names = key_map(family.names, config, tensors)
    has_both = (folder / WHOLE).exists() and (folder / INDEX).exists()
    notes = [f"{WHOLE}, not the files of its index"] if has_both else []
    if others := sum(name.startswith(family.other_parts) for name in stored):
        notes.append(f"the language model alone: {others:,} tensors of other parts are not used")
    return ModelDescription(
        family=family.title,
        model_type=family.model_type,
        config=_with_own_head(config, names, tensors),
        source=values.source,
        names=names,
        tensors=tensors,
        layouts=family.layouts,
        float8_block=_float8_block(values, family),
        note="; ".join(notes),
    )


def _float8_block(values: CheckedValues, family: Family) -> tuple[int, int] | None:
    """Rows and columns that share a scale in a model of 8-bit floats; None for any other.

    Raises `UserError` for a quantization that is not supported.
    """
    quantization = values.optional_object("quantization_config")
    method = quantization.get("quant_method", "")
    if not method or (method == "mxfp4" and family.packed_floats):
        return None
    block = quantization.values.get("weight_block_size")
    if method != "fp8" or not isinstance(block, list) or [type(each) for each in block] != [int, int] or min(block) < 1:
        raise UserError(
            _(
                "{source}: quant_method is {method}, which is not supported (supported: fp8 with weight_block_size "
                "[rows, columns]); get the model with unquantized weights, or as .gguf"
            ),
            source=values.source,
            method=reprlib.repr(method),
        )
    quantization.items("weight_block_size")
    quantization.require("activation_scheme", "dynamic")
    quantization.require("fmt", "e4m3")
    return block[0], block[1]


def _with_own_head(config: ModelConfig, names: KeyMap, tensors: Mapping[str, StoredTensor]) -> ModelConfig:
    """`config`, not tied where the files have an unembedding that differs from the embedding."""
    embedding, head = (tensors.get(f"{names[module][0]}.weight") for module in ("embed", "unembed"))
    if config.tied and embedding and head and not head.equals(embedding):
        return replace(config, tied=False)
    return config


# GGUF ----------------------------------------------------------------------------------------------------------------


def _gguf_vocab_size(file: WeightsFile) -> int:
    if "token_embd.weight" not in file.tensors:
        raise UserError(
            _("{file} is not a complete model: it has no token_embd.weight; {advice}"),
            file=file.path.name,
            advice=_(_ADVICE),
        )
    return file.tensors["token_embd.weight"].shape[0]


def _describe_gguf(path: Path) -> ModelDescription:
    file = read_gguf(path)
    general = CheckedValues(file.path.name, file.metadata, _("get a language model"))
    general.require("general.type", "model")
    family = _family(CheckedValues(file.path.name, file.metadata), "general.architecture", GGUF_FAMILIES)
    prefix = f"{family.architecture or family.model_type}."
    settings = {key.removeprefix(prefix): value for key, value in file.metadata.items() if key.startswith(prefix)}
    values = CheckedValues(file.path.name, settings, _(_ADVICE))
    assert family.gguf_config, "a family of `GGUF_FAMILIES`"
    check_sizes(values)
    tensors = each_expert(values, file.tensors)
    config = family.gguf_config(values, tensors, _gguf_vocab_size(file))
    refuse_unread(values, family.title, GGUF_WITHOUT_EFFECT | family.gguf_without_effect, GGUF_NEUTRAL)
    return ModelDescription(
        family=family.title,
        model_type=family.model_type,
        config=config,
        source=values.source,
        names=key_map(family.gguf_names, config, tensors),
        tensors=tensors,
        layouts=family.gguf_layouts,
        format=gguf_types.name(file),
    )
