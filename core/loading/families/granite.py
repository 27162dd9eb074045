"""Granite (Granite Team 2024): Llama with four multipliers."""

from collections.abc import Mapping
from typing import Any

from core.engine.config import ModelConfig
from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.language import _
from core.loading.families import llama_layout
from core.loading.families.family import Family
from core.loading.families.layouts import pairs_apart


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    return llama_layout.config(
        values,
        attention_scale=values.get("attention_multiplier", 1.0),
        embed_scale=values.get("embedding_multiplier", 1.0),
        residual_scale=values.get("residual_multiplier", 1.0),
        logit_divisor=_divisor(values, "logits_scaling"),
    )


def _divisor(values: CheckedValues, key: str) -> float:
    if (divisor := values.get(key, 1.0)) <= 0:
        raise values.invalid(key, _("a positive number"))
    return divisor


def gguf_config(values: CheckedValues, tensors: Mapping[str, StoredTensor], vocab_size: int) -> ModelConfig:
    """The configuration that GGUF metadata describes. A rotation that is not `finetuned` is none."""
    rotates: dict[str, Any] = {} if values.get("rope.scaling.finetuned", True) else {"positions": "none"}
    return llama_layout.gguf_config(
        values,
        tensors,
        vocab_size,
        attention_scale=values.get("attention.scale", 0.0) or None,
        embed_scale=values.get("embedding_scale", 0.0) or 1.0,
        residual_scale=values.get("residual_scale", 0.0) or 1.0,
        logit_divisor=_divisor(values, "logit_scale"),
        **rotates,
    )


FAMILY = Family(
    model_type="granite",
    title="Granite",
    prefix=llama_layout.PREFIX,
    names=llama_layout.NAMES,
    gguf_names=llama_layout.GGUF_NAMES,
    config=config,
    gguf_config=gguf_config,
    gguf_layouts={"blk.#.attn_q": pairs_apart, "blk.#.attn_k": pairs_apart},
)
