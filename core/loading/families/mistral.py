"""Mistral (Jiang et al. 2023): Llama with a sliding window."""

from core.engine.config import ModelConfig
from core.formats.checked import CheckedValues
from core.loading.families import llama_layout
from core.loading.families.family import Family

DEFAULT_WINDOW = 4096
"""Tokens, where config.json does not name `sliding_window`; null there means no window."""


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    window = values.get("sliding_window", 0) if "sliding_window" in values.values else DEFAULT_WINDOW
    return llama_layout.config(values, default_context=32 * 4096, window=window)


FAMILY = Family(
    model_type="mistral",
    title="Mistral",
    prefix=llama_layout.PREFIX,
    names=llama_layout.NAMES,
    gguf_names=llama_layout.GGUF_NAMES,
    config=config,
    gguf_config=llama_layout.gguf_config,
)
