"""What has to be known of a family of models to read its files: names of tensors and how to read its settings."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from core.engine.activation import ACTIVATIONS, Activation
from core.engine.config import ModelConfig
from core.errors import UserError
from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.language import _
from core.loading.families.layouts import Layout

KeyMap = Mapping[str, tuple[str, ...]]
"""Our module → the modules of a file whose rows are stacked in it, in order; `#` is the number of the block."""
Names = KeyMap | Callable[[ModelConfig, Collection[str]], KeyMap]
"""The same; or a function of the configuration and the names of the stored tensors, where sizes of a family differ."""
Layouts = Mapping[str, Layout]
"""A module of a file, as `KeyMap` names it → what makes our layout of its tensors; others are as stored."""
ACTIVATION_NAMES: Mapping[str, Activation] = {
    hub_name: name for name, function in ACTIVATIONS.items() for hub_name in function.hub_names
}
"""Hugging Face's names of activation functions → ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """A family of models in two layouts: Hugging Face (config.json beside .safetensors) and GGUF."""

    model_type: str
    """`model_type` in config.json."""
    title: str
    """The name that is shown."""
    prefix: str
    """What may stand before all tensor names of a .safetensors file."""
    names: Names
    config: Callable[[CheckedValues], ModelConfig]
    """Reads config.json. Raises `UserError` for a setting that is not supported."""
    other_prefixes: tuple[str, ...] = ()
    """Other texts that may stand there; the first one that does is removed."""
    other_parts: tuple[str, ...] = ()
    """Beginnings of the names of tensors of other models in the same files, which are not used."""
    architecture: str = ""
    """`general.architecture` in GGUF; empty is `model_type`."""
    gguf_names: Names = field(default_factory=dict)
    gguf_config: Callable[[CheckedValues, Mapping[str, StoredTensor], int], ModelConfig] | None = None
    """The same from GGUF metadata (keys without `architecture.`), the tensors, and V.

    None where llama.cpp, which defines the format, does not have the family.
    """
    layouts: Layouts = field(default_factory=dict)
    """Of .safetensors files."""
    gguf_layouts: Layouts = field(default_factory=dict)
    arranged: Callable[[CheckedValues, Mapping[str, StoredTensor]], Mapping[str, StoredTensor]] | None = None
    """Divides tensors of .safetensors files, which hold more than one of ours; the values are for error texts."""
    packed_floats: bool = False
    """Whether config.json may say that matrices are 4-bit floats (`mxfp4`), which `arranged` then finds."""
    without_effect: frozenset[str] = frozenset()
    """Settings of config.json that change no logits of this family, besides those of `settings.WITHOUT_EFFECT`."""
    gguf_without_effect: frozenset[str] = frozenset()
    """The same of GGUF metadata."""

    def short(self, name: str) -> str:
        """The name of a tensor of a .safetensors file without what stands before all names."""
        before = (each for each in (self.prefix, *self.other_prefixes) if name.startswith(each))
        return name.removeprefix(next(before, ""))


def key_map(names: Names, config: ModelConfig, tensors: Collection[str]) -> KeyMap:
    """The names of the modules of one model, whose files have these tensors."""
    return names(config, tensors) if callable(names) else names


def model_config(values: CheckedValues, *, heads: int, kv_heads: int | None = None, **fields: Any) -> ModelConfig:
    """A configuration with its MLP; by default with a key head for each query head. Errors begin with the file."""
    kv_heads = heads if kv_heads is None else kv_heads
    if kv_heads < 1 or heads % kv_heads:
        raise values.error(
            _("{kv_heads} key heads do not divide {heads} query heads").format(kv_heads=kv_heads, heads=heads)
        )
    shared: dict[str, Any] = {"pre_norm": True, "feed_forward": True, "final_activation": False}
    try:
        return ModelConfig(heads=heads, group=heads // kv_heads, **shared | fields)
    except UserError as error:
        raise values.error(str(error)) from error


def one_count(values: CheckedValues, *names: str) -> int:
    """The count under one of `names`, which mean the same. Raises `UserError` where two of them disagree."""
    given = [name for name in names if values.values.get(name) is not None] or names[:1]
    counts = {name: values.count(name) for name in given}
    if len(set(counts.values())) > 1:
        raise values.error(
            _("{choices} disagree").format(choices=" and ".join((f"{name} {count}" for name, count in counts.items())))
        )
    return counts[given[0]]
