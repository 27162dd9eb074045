"""BLOOM (Le Scao et al. 2022): ALiBi positions and a norm after the embedding."""

from collections.abc import Mapping
from typing import Any

from core.engine.config import ModelConfig
from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.loading.families import gpt2
from core.loading.families.family import Family, KeyMap, model_config, one_count
from core.loading.families.layouts import kinds_apart

NAMES: KeyMap = {
    "embed": ("word_embeddings",),
    "embed_norm": ("word_embeddings_layernorm",),
    "norm": ("ln_f",),
    "unembed": ("lm_head",),
    "blocks.#.norm1": ("h.#.input_layernorm",),
    "blocks.#.attention.qkv": ("h.#.self_attention.query_key_value",),
    "blocks.#.attention.out": ("h.#.self_attention.dense",),
    "blocks.#.norm2": ("h.#.post_attention_layernorm",),
    "blocks.#.feed_forward.up": ("h.#.mlp.dense_h_to_4h",),
    "blocks.#.feed_forward.down": ("h.#.mlp.dense_4h_to_h",),
}
WITHOUT_EFFECT = """
    attention_softmax_in_fp32 bias_dropout_fusion masked_softmax_fusion skip_bias_add skip_bias_add_qkv slow_but_exact
    offset_alibi n_inner
"""


def _config(values: CheckedValues, **settings: Any) -> ModelConfig:
    """What all BLOOM models share."""
    return model_config(
        values,
        positions="alibi",
        norm="layer",
        embed_norm=True,
        activation="gelu_tanh",
        biases=("qkv", "out", "mlp"),
        **settings,
    )


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes. The MLP is always four times as wide as the model."""
    values.require("apply_residual_connection_post_layernorm", False)
    return _config(
        values,
        vocab_size=values.count("vocab_size"),
        embed_dim=one_count(values, "n_embed", "hidden_size"),
        context=values.integer("seq_length", low=1, default=2048),
        blocks=one_count(values, "n_layer", "num_hidden_layers"),
        heads=one_count(values, "n_head", "num_attention_heads"),
        norm_eps=values.get("layer_norm_epsilon", 1e-5),
        tied=values.get("tie_word_embeddings", True),
    )


def gguf_config(values: CheckedValues, tensors: Mapping[str, StoredTensor], vocab_size: int) -> ModelConfig:
    """The configuration that GGUF metadata describes."""
    heads = values.count("attention.head_count")
    values.require("attention.head_count_kv", heads)
    return _config(
        values,
        vocab_size=vocab_size,
        embed_dim=values.count("embedding_length"),
        context=values.count("context_length"),
        blocks=values.count("block_count"),
        heads=heads,
        norm_eps=values.get("attention.layer_norm_epsilon", 1e-5),
        mlp_size=values.count("feed_forward_length"),
        tied="output.weight" not in tensors,
    )


FAMILY = Family(
    model_type="bloom",
    title="BLOOM",
    prefix="transformer.",
    names=NAMES,
    config=config,
    gguf_names={**gpt2.GGUF_NAMES, "embed_norm": ("token_embd_norm",)},
    gguf_config=gguf_config,
    without_effect=frozenset(WITHOUT_EFFECT.split()),
    layouts={"h.#.self_attention.query_key_value": kinds_apart},
)
