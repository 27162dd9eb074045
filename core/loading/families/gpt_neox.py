"""GPT-NeoX (Black et al. 2022) and Pythia (Biderman et al. 2023): parallel blocks, part of each head is rotated."""

from collections.abc import Mapping
from typing import Any

from core.engine.config import Bias, ModelConfig
from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.loading.families import gpt2
from core.loading.families.family import ACTIVATION_NAMES, Family, KeyMap, model_config
from core.loading.families.layouts import kinds_apart
from core.loading.families.rope_settings import read_gguf_rope, read_rope

NAMES: KeyMap = {
    "embed": ("embed_in",),
    "norm": ("final_layer_norm",),
    "unembed": ("embed_out",),
    "blocks.#.norm1": ("layers.#.input_layernorm",),
    "blocks.#.attention.qkv": ("layers.#.attention.query_key_value",),
    "blocks.#.attention.out": ("layers.#.attention.dense",),
    "blocks.#.norm2": ("layers.#.post_attention_layernorm",),
    "blocks.#.feed_forward.up": ("layers.#.mlp.dense_h_to_4h",),
    "blocks.#.feed_forward.down": ("layers.#.mlp.dense_4h_to_h",),
}


def _config(values: CheckedValues, **settings: Any) -> ModelConfig:
    """What all GPT-NeoX models share."""
    parallel = values.get("use_parallel_residual", True)
    return model_config(
        values, positions="rotary", norm="layer", layout="parallel" if parallel else "sequential", **settings
    )


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    width, heads = values.count("hidden_size"), values.count("num_attention_heads")
    context = values.integer("max_position_embeddings", low=1, default=2048)
    base, share = values.get("rotary_emb_base", 10_000.0), values.get("rotary_pct", 0.25)
    attention: tuple[Bias, ...] = ("qkv", "out") if values.get("attention_bias", True) else ()
    return _config(
        values,
        vocab_size=values.count("vocab_size"),
        embed_dim=width,
        context=context,
        blocks=values.count("num_hidden_layers"),
        heads=heads,
        norm_eps=values.get("layer_norm_eps", 1e-5),
        mlp_size=values.count("intermediate_size"),
        activation=values.one_of("hidden_act", ACTIVATION_NAMES, "gelu"),
        tied=values.get("tie_word_embeddings", False),
        biases=(*attention, "mlp"),
        rope=read_rope(values, width // heads, context, base=base, share=share, partial=True),
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
        norm_eps=values.get("attention.layer_norm_epsilon", 1e-5),
        mlp_size=values.count("feed_forward_length"),
        activation="gelu",
        tied="output.weight" not in tensors,
        biases=("qkv", "out", "mlp"),
        rope=read_gguf_rope(values, tensors, width // heads),
    )


FAMILY = Family(
    model_type="gpt_neox",
    title="GPT-NeoX",
    prefix="gpt_neox.",
    names=NAMES,
    config=config,
    architecture="gptneox",
    gguf_names={name: modules for name, modules in gpt2.GGUF_NAMES.items() if name != "position"},
    gguf_config=gguf_config,
    layouts={"layers.#.attention.query_key_value": kinds_apart},
)
