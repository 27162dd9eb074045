"""Llama (Touvron et al. 2023); SmolLM2 and TinyLlama are of this family too."""

from core.loading.families import llama_layout
from core.loading.families.family import Family

FAMILY = Family(
    model_type="llama",
    title="Llama",
    prefix=llama_layout.PREFIX,
    names=llama_layout.NAMES,
    gguf_names=llama_layout.GGUF_NAMES,
    config=llama_layout.config,
    gguf_config=llama_layout.gguf_config,
    gguf_interleaved=True,
)
