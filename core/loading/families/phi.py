"""Phi-1, Phi-1.5 and Phi-2 (Gunasekar et al. 2023): attention and MLP read one norm; half of each head is rotated."""

from collections.abc import Collection, Mapping
from typing import Any

from core.engine.config import ModelConfig
from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.loading.families import gpt2
from core.loading.families.family import ACTIVATION_NAMES, Family, KeyMap, model_config
from core.loading.families.rope_settings import read_gguf_rope, read_rope

NAMES: KeyMap = {
    "embed": ("model.embed_tokens",),
    "norm": ("model.final_layernorm",),
    "unembed": ("lm_head",),
    "blocks.#.norm1": ("model.layers.#.input_layernorm",),
    "blocks.#.attention.qkv": tuple(f"model.layers.#.self_attn.{part}_proj" for part in "qkv"),
    "blocks.#.attention.out": ("model.layers.#.self_attn.dense",),
    "blocks.#.feed_forward.up": ("model.layers.#.mlp.fc1",),
    "blocks.#.feed_forward.down": ("model.layers.#.mlp.fc2",),
}


def gguf_names(config: ModelConfig, tensors: Collection[str]) -> KeyMap:
    """The names in GGUF files; older ones have queries, keys and values in one tensor."""
    parts = ("attn_qkv",) if "blk.0.attn_qkv.weight" in tensors else ("attn_q", "attn_k", "attn_v")
    return {**gpt2.GGUF_NAMES, "blocks.#.attention.qkv": tuple(f"blk.#.{part}" for part in parts)}


def _config(values: CheckedValues, **settings: Any) -> ModelConfig:
    """What all these models share."""
    return model_config(
        values,
        positions="rotary",
        norm="layer",
        layout="parallel_one_norm",
        biases=("qkv", "out", "mlp", "head"),
        **settings,
    )


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    width, heads = values.count("hidden_size"), values.count("num_attention_heads")
    context = values.integer("max_position_embeddings", low=1, default=2048)
    values.require("qk_layernorm", False)
    values.require("tie_word_embeddings", False)  # its unembedding has a bias
    return _config(
        values,
        vocab_size=values.count("vocab_size"),
        embed_dim=width,
        context=context,
        blocks=values.count("num_hidden_layers"),
        heads=heads,
        head_size=width // heads,
        kv_heads=values.get("num_key_value_heads", heads),
        rope=read_rope(values, width // heads, context, share=0.5, partial=True),
        norm_eps=values.get("layer_norm_eps", 1e-5),
        mlp_size=values.count("intermediate_size"),
        activation=values.one_of("hidden_act", ACTIVATION_NAMES, "gelu_new"),
    )


def gguf_config(values: CheckedValues, tensors: Mapping[str, StoredTensor], vocab_size: int) -> ModelConfig:
    """The configuration that GGUF metadata describes."""
    width, heads = values.count("embedding_length"), values.count("attention.head_count")
    return _config(
        values,
        vocab_size=vocab_size,
        embed_dim=width,
        context=values.count("context_length"),
        blocks=values.count("block_count"),
        heads=heads,
        kv_heads=values.get("attention.head_count_kv", heads),
        rope=read_gguf_rope(values, tensors, width // heads),
        norm_eps=values.get("attention.layer_norm_epsilon", 1e-5),
        mlp_size=values.count("feed_forward_length"),
        activation="gelu_tanh",
    )


FAMILY = Family(
    model_type="phi",
    title="Phi-2",
    prefix="",
    names=NAMES,
    config=config,
    architecture="phi2",
    gguf_names=gguf_names,
    gguf_config=gguf_config,
)
