"""Phi-3 and Phi-4 (Abdin et al. 2024): Llama with fused matrices, and in some sizes a part of each head is rotated."""

from collections.abc import Collection

from core.engine.config import ModelConfig
from core.formats.checked import CheckedValues
from core.loading.families import llama_layout
from core.loading.families.family import Family, KeyMap
from core.loading.families.rope_settings import read_context, read_rope
from core.loading.families.window_settings import read_kinds, window_size, windows

CONTEXT = 4096
"""Tokens, where config.json does not name `max_position_embeddings`."""

NAMES: KeyMap = {
    **llama_layout.NAMES,
    "blocks.#.attention.qkv": ("layers.#.self_attn.qkv_proj",),
    "blocks.#.feed_forward.up": ("layers.#.mlp.gate_up_proj",),
}


def gguf_names(config: ModelConfig, tensors: Collection[str]) -> KeyMap:
    """The names in GGUF files; queries, keys and values may be one tensor or three."""
    fused = {"blocks.#.attention.qkv": ("blk.#.attn_qkv",)} if "blk.0.attn_qkv.weight" in tensors else {}
    return {**llama_layout.GGUF_NAMES, **fused, "blocks.#.feed_forward.up": ("blk.#.ffn_up",)}


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    for key in ("full_attn_mod", "interpolate_factor"):  # of Phi-4's own code, which transformers replaced
        values.require(key, 1)
    for key in ("lm_head_bias", "attention_bias"):
        values.require(key, False)
    width, heads = values.count("hidden_size"), values.count("num_attention_heads")
    blocks, size = values.count("num_hidden_layers"), window_size(values, 0)
    trained, _ = read_context(values, CONTEXT)
    return llama_layout.config(
        values,
        default_context=CONTEXT,
        default_eps=1e-5,
        biases=llama_layout.biases(values, qkv=False, out=False),
        rope=read_rope(values, values.get("head_dim", 0) or width // heads, trained, partial=True),
        windows=windows(values, size, read_kinds(values, blocks, lambda block: size != 0)),
    )


FAMILY = Family(
    model_type="phi3",
    title="Phi-3",
    prefix=llama_layout.PREFIX,
    names=NAMES,
    config=config,
    gguf_names=gguf_names,
    gguf_config=llama_layout.gguf_config,
)
