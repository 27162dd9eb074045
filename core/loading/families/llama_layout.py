"""The layout that Llama introduced and other families share: RMSNorm, rotary positions, SwiGLU, grouped queries."""

from collections.abc import Mapping
from typing import Any

from core.engine.config import Bias, ModelConfig
from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.loading.families import gpt2
from core.loading.families.family import ACTIVATION_NAMES, KeyMap
from core.loading.families.rope_settings import read_context, read_gguf_rope, read_rope

PREFIX = "model."
NAMES: KeyMap = {
    "embed": ("embed_tokens",),
    "norm": ("norm",),
    "unembed": ("lm_head",),
    "blocks.#.norm1": ("layers.#.input_layernorm",),
    "blocks.#.attention.qkv": tuple(f"layers.#.self_attn.{part}_proj" for part in "qkv"),
    "blocks.#.attention.q_norm": ("layers.#.self_attn.q_norm",),
    "blocks.#.attention.k_norm": ("layers.#.self_attn.k_norm",),
    "blocks.#.attention.out": ("layers.#.self_attn.o_proj",),
    "blocks.#.norm2": ("layers.#.post_attention_layernorm",),
    "blocks.#.feed_forward.up": ("layers.#.mlp.gate_proj", "layers.#.mlp.up_proj"),
    "blocks.#.feed_forward.down": ("layers.#.mlp.down_proj",),
}
GGUF_NAMES: KeyMap = {
    **gpt2.GGUF_NAMES,
    "blocks.#.attention.qkv": tuple(f"blk.#.attn_{part}" for part in "qkv"),
    "blocks.#.attention.q_norm": ("blk.#.attn_q_norm",),
    "blocks.#.attention.k_norm": ("blk.#.attn_k_norm",),
    "blocks.#.feed_forward.up": ("blk.#.ffn_gate", "blk.#.ffn_up"),
}


def config(
    values: CheckedValues,
    *,
    default_context: int = 2048,
    window: int = 0,
    default_head_dim: int = 0,
    qkv_bias: bool | None = None,
    out_bias: bool | None = None,
    qk_norm: bool = False,
) -> ModelConfig:
    """The configuration that a config.json describes; the other arguments are what a family has of its own.

    `default_context` is `max_position_embeddings` where the file has none. `window` is the sliding window in tokens,
    0 for none: within it every position attends to every earlier one, so the context ends there. `default_head_dim` 0
    divides the hidden size evenly. A bias of None follows `attention_bias`.
    """
    heads, width = values.count("num_attention_heads"), values.count("hidden_size")
    head_size = values.get("head_dim", default_head_dim) or None
    head_dim = head_size or width // heads
    trained, context = read_context(values, default_context)
    bias = values.get("attention_bias", False)
    biases: dict[Bias, bool] = {
        "qkv": bias if qkv_bias is None else qkv_bias,
        "out": bias if out_bias is None else out_bias,
        "mlp": values.get("mlp_bias", False),
    }
    return _config(
        values,
        vocab_size=values.count("vocab_size"),
        embed_dim=width,
        context=_context(context, window),
        blocks=values.count("num_hidden_layers"),
        heads=heads,
        kv_heads=values.get("num_key_value_heads", heads),
        head_size=head_size,
        rope=read_rope(values, head_dim, trained),
        norm_eps=values.get("rms_norm_eps", 1e-6),
        qk_norm=qk_norm,
        mlp_size=values.count("intermediate_size"),
        activation=values.one_of("hidden_act", ACTIVATION_NAMES, "silu"),
        tied=values.get("tie_word_embeddings", False),
        biases=tuple(name for name, present in biases.items() if present),
    )


def optional_window(values: CheckedValues) -> int:
    """The sliding window where `use_sliding_window` is set, else 0."""
    return values.get("sliding_window", 0) if values.get("use_sliding_window", False) else 0


def _context(trained: int, window: int) -> int:
    return min(trained, window) if window else trained


def _config(values: CheckedValues, *, heads: int, kv_heads: int, **settings: Any) -> ModelConfig:
    """What all models of this layout share."""
    if kv_heads < 1 or heads % kv_heads:
        raise values.error(f"{kv_heads} key heads do not divide {heads} query heads")
    return ModelConfig(
        heads=heads,
        group=heads // kv_heads,
        positions="rotary",
        norm="rms",
        pre_norm=True,
        feed_forward=True,
        gated=True,
        final_activation=False,
        **settings,
    )


def gguf_config(values: CheckedValues, tensors: Mapping[str, StoredTensor], vocab_size: int) -> ModelConfig:
    """The configuration that GGUF metadata describes; biases and norms of queries and keys show in the tensors."""
    heads, width = values.count("attention.head_count"), values.count("embedding_length")
    head_size = values.get("attention.key_length", 0) or None
    head_dim = head_size or width // heads
    values.require("attention.value_length", head_dim)
    biases: dict[Bias, str] = {"qkv": "attn_q", "out": "attn_output", "mlp": "ffn_down"}
    return _config(
        values,
        vocab_size=vocab_size,
        embed_dim=width,
        context=_context(values.count("context_length"), values.get("attention.sliding_window", 0)),
        blocks=values.count("block_count"),
        heads=heads,
        kv_heads=values.get("attention.head_count_kv", heads),
        head_size=head_size,
        rope=read_gguf_rope(values, tensors, head_dim),
        norm_eps=values.get("attention.layer_norm_rms_epsilon", 1e-5),
        qk_norm="blk.0.attn_q_norm.weight" in tensors,
        mlp_size=values.count("feed_forward_length"),
        activation="silu",
        tied="output.weight" not in tensors,
        biases=tuple(name for name, part in biases.items() if f"blk.0.{part}.bias" in tensors),
    )
