"""The layout that Llama introduced and other families share: RMSNorm, rotary positions, SwiGLU, grouped queries."""

from collections.abc import Mapping
from typing import Any

from core.engine.config import Bias, Experts, ModelConfig
from core.errors import UserError
from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.language import _
from core.loading.families import gpt2
from core.loading.families.family import ACTIVATION_NAMES, KeyMap
from core.loading.families.rope_settings import read_context, read_gguf_rope, read_rope
from core.loading.families.window_settings import read_gguf_windows, read_kinds, window_size, windows

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
    default_head_dim: int = 0,
    default_base: float = 10_000.0,
    default_eps: float = 1e-6,
    default_tied: bool = False,
    **fields: Any,
) -> ModelConfig:
    """The configuration that a config.json describes; the other arguments are what a family has of its own.

    `default_…` is the value of a key that the file does not have: `max_position_embeddings`, `head_dim` (0 divides the
    hidden size evenly), `rope_theta`, `rms_norm_eps`, `tie_word_embeddings`. `fields` are fields of the configuration
    that come from elsewhere.
    """
    heads, width = values.count("num_attention_heads"), values.count("hidden_size")
    head_dim = values.get("head_dim", default_head_dim) or width // heads
    trained, context = read_context(values, default_context)
    read: dict[str, Any] = {
        "vocab_size": values.count("vocab_size"),
        "embed_dim": width,
        "context": context,
        "blocks": values.count("num_hidden_layers"),
        "heads": heads,
        "kv_heads": values.get("num_key_value_heads", heads),
        "head_size": head_dim,
        "norm_eps": values.get("rms_norm_eps", default_eps),
        "mlp_size": values.count("intermediate_size"),
        "tied": values.get("tie_word_embeddings", default_tied),
    }
    if "rope" not in fields:
        read["rope"] = read_rope(values, head_dim, trained, base=default_base)
    if "activation" not in fields:
        read["activation"] = values.one_of("hidden_act", ACTIVATION_NAMES, "silu")
    if "biases" not in fields:
        read["biases"] = biases(values)
    return _config(values, **read | fields)


def biases(values: CheckedValues, *, qkv: bool | None = None, out: bool | None = None) -> tuple[Bias, ...]:
    """The linear layers with a bias. None follows `attention_bias`."""
    attention = values.get("attention_bias", False) if qkv is None or out is None else False
    present: dict[Bias, bool] = {
        "qkv": attention if qkv is None else qkv,
        "out": attention if out is None else out,
        "mlp": values.get("mlp_bias", False),
    }
    return tuple(name for name in present if present[name])


def late_windows(values: CheckedValues) -> tuple[int, ...]:
    """The windows of Qwen2 and Qwen3: with `use_sliding_window`, of the layers from `max_window_layers` on."""
    blocks, first = values.count("num_hidden_layers"), values.get("max_window_layers", 28)
    size = window_size(values, 4096) * values.get("use_sliding_window", False)
    return windows(values, size, read_kinds(values, blocks, lambda block: size != 0 and block >= first))


def _config(values: CheckedValues, *, heads: int, kv_heads: int, **settings: Any) -> ModelConfig:
    """What all models of this layout share."""
    if kv_heads < 1 or heads % kv_heads:
        raise values.error(
            _("{kv_heads} key heads do not divide {heads} query heads").format(kv_heads=kv_heads, heads=heads)
        )
    shared: dict[str, Any] = {"positions": "rotary", "norm": "rms", "pre_norm": True, "feed_forward": True}
    shared |= {"gated": True, "final_activation": False}
    try:
        return ModelConfig(heads=heads, group=heads // kv_heads, **shared | settings)
    except UserError as error:
        raise values.error(str(error)) from error


def gguf_experts(values: CheckedValues, *, normalized: bool, shared_size: int = 0) -> Experts | None:
    """The experts that GGUF metadata describes; None where there are none."""
    if not (count := values.get("expert_count", 0)):
        return None
    values.require("expert_weights_scale", 0.0)
    values.require("expert_weights_norm", normalized)
    return Experts(
        count=count,
        used=values.integer("expert_used_count", low=1, below=count + 1),
        size=values.get("expert_feed_forward_length", 0) or values.count("feed_forward_length"),
        normalized=normalized,
        shared_size=shared_size,
    )


def gguf_config(
    values: CheckedValues, tensors: Mapping[str, StoredTensor], vocab_size: int, **fields: Any
) -> ModelConfig:
    """The configuration that GGUF metadata describes; biases and norms of queries and keys show in the tensors.

    `fields` are fields of the configuration that come from elsewhere.
    """
    heads, width = values.count("attention.head_count"), values.count("embedding_length")
    blocks = values.count("block_count")
    head_size = values.get("attention.key_length", 0) or None
    head_dim = head_size or width // heads
    values.require("attention.value_length", head_dim)
    bias_names: dict[Bias, str] = {"qkv": "attn_q", "out": "attn_output", "mlp": "ffn_down"}
    read: dict[str, Any] = {
        "vocab_size": vocab_size,
        "embed_dim": width,
        "context": values.count("context_length"),
        "blocks": blocks,
        "heads": heads,
        "kv_heads": values.get("attention.head_count_kv", heads),
        "head_size": head_size,
        "norm_eps": values.get("attention.layer_norm_rms_epsilon", 1e-5),
        "qk_norm": "head" if "blk.0.attn_q_norm.weight" in tensors else "none",
        "mlp_size": values.count("feed_forward_length"),
        "activation": "silu",
        "tied": "output.weight" not in tensors,
        "biases": tuple(name for name, part in bias_names.items() if f"blk.0.{part}.bias" in tensors),
    }
    if "rope" not in fields:
        read["rope"] = read_gguf_rope(values, tensors, head_dim)
    if "windows" not in fields:
        read["windows"] = read_gguf_windows(values, blocks)
    return _config(values, **read | fields)
