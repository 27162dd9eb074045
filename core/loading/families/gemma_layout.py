"""What the Gemma families share: GeGLU, norms of 1 + w, a scaled embedding that is also the unembedding."""

import math
from collections.abc import Mapping
from typing import Any

from core.engine.config import ModelConfig
from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.language import _
from core.loading.families import llama_layout
from core.loading.families.family import ACTIVATION_NAMES, KeyMap
from core.loading.families.layouts import one_more

NAMES: KeyMap = {
    **llama_layout.NAMES,
    "blocks.#.attention.norm": ("layers.#.post_attention_layernorm",),
    "blocks.#.norm2": ("layers.#.pre_feedforward_layernorm",),
    "blocks.#.feed_forward.norm": ("layers.#.post_feedforward_layernorm",),
}
"""Of Gemma 2 and 3, which have four norms in a block."""
GGUF_NAMES: KeyMap = {
    **llama_layout.GGUF_NAMES,
    "blocks.#.attention.norm": ("blk.#.post_attention_norm",),
    "blocks.#.feed_forward.norm": ("blk.#.post_ffw_norm",),
}
NORMS = (
    "norm",
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)
LAYOUTS = {"norm": one_more} | {f"layers.#.{norm}": one_more for norm in NORMS[1:]}
"""Files hold w of a norm that multiplies by 1 + w; GGUF holds the sum."""


def config(values: CheckedValues, *, activation_key: str, **fields: Any) -> ModelConfig:
    """The configuration that a config.json describes; `fields` are those that a family has of its own."""
    width = values.count("hidden_size")
    shared: dict[str, Any] = {"default_head_dim": 256, "default_tied": True, "embed_scale": math.sqrt(width)}
    if "activation" not in fields:
        shared["activation"] = values.one_of(activation_key, ACTIVATION_NAMES, "gelu_pytorch_tanh")
    return llama_layout.config(values, **shared | fields)


def gguf_config(
    values: CheckedValues, tensors: Mapping[str, StoredTensor], vocab_size: int, **fields: Any
) -> ModelConfig:
    """The configuration that GGUF metadata describes; `fields` are those that a family has of its own."""
    scale = math.sqrt(values.count("embedding_length"))
    return llama_layout.gguf_config(values, tensors, vocab_size, activation="gelu_tanh", embed_scale=scale, **fields)


def attention_scale(values: CheckedValues) -> float:
    """The factor of the products of queries and keys in config.json."""
    scalar = values.get("query_pre_attn_scalar", 256.0)
    if scalar <= 0:
        raise values.invalid("query_pre_attn_scalar", _("a positive number"))
    return 1 / math.sqrt(scalar)


def gguf_attention_scale(values: CheckedValues, wide: int) -> float | None:
    """The same in GGUF, where it depends on the number of blocks: the model of 27B parameters has `wide` ones."""
    heads, width = values.count("attention.head_count"), values.count("embedding_length")
    return 1 / math.sqrt(width // heads) if values.count("block_count") == wide else None


def cap(values: CheckedValues, key: str, default: float) -> float:
    """The cap of logits under `key`, `default` where there is no such key; 0 is no cap, as is null."""
    number = values.get(key, 0.0) if key in values.values else default
    if number < 0:
        raise values.invalid(key, _("a positive number"))
    return number
