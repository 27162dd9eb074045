"""Qwen2 and Qwen2.5 (Yang et al. 2024): Llama with biases on queries, keys and values."""

from core.engine.config import ModelConfig
from core.formats.checked import CheckedValues
from core.loading.families import llama_layout
from core.loading.families.family import Family


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    biases = llama_layout.biases(values, qkv=True, out=False)
    windows = llama_layout.late_windows(values)
    return llama_layout.config(values, default_context=32_768, windows=windows, biases=biases)


FAMILY = Family(
    model_type="qwen2",
    title="Qwen2",
    prefix=llama_layout.PREFIX,
    names=llama_layout.NAMES,
    gguf_names=llama_layout.GGUF_NAMES,
    config=config,
    gguf_config=llama_layout.gguf_config,
)
