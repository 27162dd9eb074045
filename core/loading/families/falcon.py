"""Falcon (Almazrouei et al. 2023): parallel blocks and few key heads; Falcon-RW has ALiBi and sequential blocks."""

from collections.abc import Collection, Mapping

from core.engine.config import Layout, ModelConfig
from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.language import _
from core.loading.families import gpt2
from core.loading.families.family import ACTIVATION_NAMES, Family, KeyMap, model_config, one_count
from core.loading.families.layouts import kinds_apart
from core.loading.families.rope_settings import read_gguf_rope, read_rope

CONTEXT = 2048
"""Tokens, where config.json does not say."""


def names(config: ModelConfig, tensors: Collection[str]) -> KeyMap:
    """The names in .safetensors files. Falcon-40B and 180B have two norms in their parallel blocks."""
    two = config.layout == "parallel"
    return {
        "embed": ("word_embeddings",),
        "norm": ("ln_f",),
        "unembed": ("lm_head",),
        "blocks.#.norm1": ("h.#.ln_attn" if two else "h.#.input_layernorm",),
        "blocks.#.attention.qkv": ("h.#.self_attention.query_key_value",),
        "blocks.#.attention.out": ("h.#.self_attention.dense",),
        "blocks.#.norm2": ("h.#.ln_mlp" if two else "h.#.post_attention_layernorm",),
        "blocks.#.feed_forward.up": ("h.#.mlp.dense_h_to_4h",),
        "blocks.#.feed_forward.down": ("h.#.mlp.dense_4h_to_h",),
    }


def gguf_names(config: ModelConfig, tensors: Collection[str]) -> KeyMap:
    """The names in GGUF files, where the second norm is that of attention."""
    two = config.layout == "parallel"
    norms = ("blk.#.attn_norm_2", "blk.#.attn_norm") if two else ("blk.#.attn_norm", "")
    return {**gpt2.GGUF_NAMES, "blocks.#.norm1": norms[:1], "blocks.#.norm2": norms[1:]}


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    width = one_count(values, "n_embed", "hidden_size")
    heads = one_count(values, "num_attention_heads", "n_head")
    context = values.integer("max_position_embeddings", low=1, default=CONTEXT)
    new, alibi = values.get("new_decoder_architecture", False), values.get("alibi", False)
    kv_heads, one = values.get("num_kv_heads", heads), values.get("multi_query", True)
    values.require("apply_residual_connection_post_layernorm", False)
    return model_config(
        values,
        norm="layer",
        vocab_size=values.count("vocab_size"),
        embed_dim=width,
        context=context,
        blocks=one_count(values, "num_hidden_layers", "n_layer"),
        heads=heads,
        kv_heads=kv_heads if new else 1 if one else heads,
        positions="alibi" if alibi else "rotary",
        alibi_rounded=alibi,
        rope=read_rope(values, width // heads, context),
        norm_eps=values.get("layer_norm_epsilon", 1e-5),
        layout=_layout(values, new=new),
        mlp_size=values.get("ffn_hidden_size", 0) or None,
        activation=values.one_of("activation", ACTIVATION_NAMES, "gelu"),
        tied=values.get("tie_word_embeddings", True),
        biases=("qkv", "out", "mlp") if values.get("bias", False) else (),
    )


def _layout(values: CheckedValues, *, new: bool) -> Layout:
    """How the blocks are joined; the new architecture (Falcon-40B, 180B, 11B) is parallel, with two norms or one."""
    norms = values.get("num_ln_in_parallel_attn", 2 if new else 1)
    if not values.get("parallel_attn", True):
        if new:
            raise values.error(_("parallel_attn is False, which is not supported with new_decoder_architecture"))
        return "sequential"
    if norms not in ((1, 2) if new else (1,)):
        raise values.error(
            _("num_ln_in_parallel_attn is {norms}, which is not supported (supported: 1, or 2 in 40B)").format(
                norms=norms
            )
        )
    return "parallel" if norms == 2 else "parallel_one_norm"


def gguf_config(values: CheckedValues, tensors: Mapping[str, StoredTensor], vocab_size: int) -> ModelConfig:
    """The configuration that GGUF metadata describes. llama.cpp knows neither ALiBi nor biases here."""
    width, heads = values.count("embedding_length"), values.count("attention.head_count")
    values.require("tensor_data_layout", "jploski")
    return model_config(
        values,
        norm="layer",
        vocab_size=vocab_size,
        embed_dim=width,
        context=values.count("context_length"),
        blocks=values.count("block_count"),
        heads=heads,
        kv_heads=values.get("attention.head_count_kv", heads),
        positions="rotary",
        rope=read_gguf_rope(values, tensors, width // heads),
        norm_eps=values.get("attention.layer_norm_epsilon", 1e-5),
        layout="parallel" if "blk.0.attn_norm_2.weight" in tensors else "parallel_one_norm",
        mlp_size=values.count("feed_forward_length"),
        activation="gelu",
        tied="output.weight" not in tensors,
        biases=(),
    )


FAMILY = Family(
    model_type="falcon",
    title="Falcon",
    prefix="transformer.",
    names=names,
    config=config,
    gguf_names=gguf_names,
    gguf_config=gguf_config,
    without_effect=frozenset(["ff_factor"]),
    layouts={"h.#.self_attention.query_key_value": kinds_apart},
)
