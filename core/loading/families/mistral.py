"""Mistral (Jiang et al. 2023): Llama with a sliding window."""

from core.engine.config import ModelConfig
from core.formats.checked import CheckedValues
from core.loading.families import llama_layout
from core.loading.families.family import Family
from core.loading.families.window_settings import read_kinds, window_size, windows

DEFAULT_WINDOW = 4096
"""Tokens, where config.json does not name `sliding_window`; null there means no window."""


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    blocks = values.count("num_hidden_layers")
    size = window_size(values, DEFAULT_WINDOW)
    kinds = read_kinds(values, blocks, lambda block: size != 0)
    return llama_layout.config(values, default_context=32 * 4096, windows=windows(values, size, kinds))


FAMILY = Family(
    model_type="mistral",
    title="Mistral",
    prefix=llama_layout.PREFIX,
    names=llama_layout.NAMES,
    gguf_names=llama_layout.GGUF_NAMES,
    config=config,
    gguf_config=llama_layout.gguf_config,
)
