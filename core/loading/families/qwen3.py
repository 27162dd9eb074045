"""Qwen3 (Yang et al. 2025): Llama with a norm on each head's queries and keys."""

from core.engine.config import ModelConfig
from core.formats.checked import CheckedValues
from core.loading.families import llama_layout
from core.loading.families.family import Family


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    windows = llama_layout.late_windows(values)
    return llama_layout.config(values, default_context=32_768, default_head_dim=128, windows=windows, qk_norm="head")


FAMILY = Family(
    model_type="qwen3",
    title="Qwen3",
    prefix=llama_layout.PREFIX,
    names=llama_layout.NAMES,
    gguf_names=llama_layout.GGUF_NAMES,
    config=config,
    gguf_config=llama_layout.gguf_config,
)
