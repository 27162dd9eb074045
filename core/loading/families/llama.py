"""Llama (Touvron et al. 2023); SmolLM2 and TinyLlama are of this family too."""

from core.loading.families import llama_layout
from core.loading.families.family import Family
from core.loading.families.layouts import pairs_apart

FAMILY = Family(
    model_type="llama",
    title="Llama",
    prefix=llama_layout.PREFIX,
    names=llama_layout.NAMES,
    gguf_names=llama_layout.GGUF_NAMES,
    config=llama_layout.config,
    gguf_config=llama_layout.gguf_config,
    gguf_layouts={"blk.#.attn_q": pairs_apart, "blk.#.attn_k": pairs_apart},
)
