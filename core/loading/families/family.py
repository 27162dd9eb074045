"""What has to be known of a family of models to read its files: names of tensors and how to read its settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from core.engine.activation import ACTIVATIONS, Activation
from core.engine.config import ModelConfig
from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.loading.families.layouts import Layout

KeyMap = Mapping[str, tuple[str, ...]]
"""Our module → the modules of a file whose rows are stacked in it, in order; `#` is the number of the block."""
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
    """`model_type` in config.json and `general.architecture` in GGUF."""
    title: str
    """The name that is shown."""
    prefix: str
    """What may stand before all tensor names of a .safetensors file."""
    names: KeyMap
    gguf_names: KeyMap
    config: Callable[[CheckedValues], ModelConfig]
    """Reads config.json. Raises `UserError` for a setting that is not supported."""
    gguf_config: Callable[[CheckedValues, Mapping[str, StoredTensor], int], ModelConfig]
    """The same from GGUF metadata (keys without `model_type.`), the tensors, and V."""
    layouts: Layouts = field(default_factory=dict)
    """Of .safetensors files."""
    gguf_layouts: Layouts = field(default_factory=dict)
    without_effect: frozenset[str] = frozenset()
    """Settings of config.json that change no logits of this family, besides those of `settings.WITHOUT_EFFECT`."""
    gguf_without_effect: frozenset[str] = frozenset()
    """The same of GGUF metadata."""
