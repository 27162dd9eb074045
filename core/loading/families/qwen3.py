"""Qwen3 (Yang et al. 2025): Llama with a norm on each head's queries and keys."""

from core.engine.config import ModelConfig
from core.formats.checked import CheckedValues
from core.loading.families import llama_layout
from core.loading.families.family import Family


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    return llama_layout.config(
        values, default_context=32_768, window=llama_layout.optional_window(values), default_head_dim=128, qk_norm=True
    )


FAMILY = Family(
    model_type="qwen3",
    title="Qwen3",
    prefix=llama_layout.PREFIX,
    names=llama_layout.NAMES,
    gguf_names=llama_layout.GGUF_NAMES,
    config=config,
    gguf_config=llama_layout.gguf_config,
)
