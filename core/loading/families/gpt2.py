"""GPT-2 (Radford et al. 2019)."""

from collections.abc import Mapping
from typing import Any

from core.engine.config import ModelConfig
from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.loading.families.family import ACTIVATION_NAMES, Family, KeyMap
from core.loading.families.layouts import transposed

NAMES: KeyMap = {
    "embed": ("wte",),
    "position": ("wpe",),
    "norm": ("ln_f",),
    "unembed": ("lm_head",),
    "blocks.#.norm1": ("h.#.ln_1",),
    "blocks.#.attention.qkv": ("h.#.attn.c_attn",),
    "blocks.#.attention.out": ("h.#.attn.c_proj",),
    "blocks.#.norm2": ("h.#.ln_2",),
    "blocks.#.feed_forward.up": ("h.#.mlp.c_fc",),
    "blocks.#.feed_forward.down": ("h.#.mlp.c_proj",),
}
GGUF_NAMES: KeyMap = {
    "embed": ("token_embd",),
    "position": ("position_embd",),
    "norm": ("output_norm",),
    "unembed": ("output",),
    "blocks.#.norm1": ("blk.#.attn_norm",),
    "blocks.#.attention.qkv": ("blk.#.attn_qkv",),
    "blocks.#.attention.out": ("blk.#.attn_output",),
    "blocks.#.norm2": ("blk.#.ffn_norm",),
    "blocks.#.feed_forward.up": ("blk.#.ffn_up",),
    "blocks.#.feed_forward.down": ("blk.#.ffn_down",),
}


def _config(**settings: Any) -> ModelConfig:
    """What all GPT-2 models share."""
    return ModelConfig(
        positions="learned",
        norm="layer",
        pre_norm=True,
        feed_forward=True,
        final_activation=False,
        biases=("qkv", "out", "mlp"),
        **settings,
    )


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    values.require("scale_attn_weights", True)
    values.require("scale_attn_by_inverse_layer_idx", False)
    values.require("add_cross_attention", False)
    return _config(
        vocab_size=values.count("vocab_size"),
        embed_dim=values.count("n_embd"),
        context=values.count("n_positions"),
        blocks=values.count("n_layer"),
        heads=values.count("n_head"),
        norm_eps=values.get("layer_norm_epsilon", 1e-5),
        mlp_size=values.get("n_inner", 0) or None,
        activation=values.one_of("activation_function", ACTIVATION_NAMES, "gelu_new"),
        tied=values.get("tie_word_embeddings", True),
    )


def gguf_config(values: CheckedValues, tensors: Mapping[str, StoredTensor], vocab_size: int) -> ModelConfig:
    """The configuration that GGUF metadata describes."""
    return _config(
        vocab_size=vocab_size,
        embed_dim=values.count("embedding_length"),
        context=values.count("context_length"),
        blocks=values.count("block_count"),
        heads=values.count("attention.head_count"),
        norm_eps=values.get("attention.layer_norm_epsilon", 1e-5),
        mlp_size=values.count("feed_forward_length"),
        activation="gelu_tanh",
        tied="output.weight" not in tensors,
    )


FAMILY = Family(
    model_type="gpt2",
    title="GPT-2",
    prefix="transformer.",
    names=NAMES,
    gguf_names=GGUF_NAMES,
    config=config,
    gguf_config=gguf_config,
    layouts={f"h.#.{module}": transposed for module in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")},
)
