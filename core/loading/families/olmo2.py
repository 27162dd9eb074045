"""OLMo 2 (OLMo Team 2025): norms of what attention and MLP add, and of all queries and keys of a position together."""

from collections.abc import Mapping
from typing import Any

from core.engine.config import ModelConfig
from core.engine.rope import Rope
from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.loading.families import gemma_layout, llama_layout
from core.loading.families.family import Family
from core.loading.families.rope_settings import read_gguf_rope
from core.loading.families.window_settings import read_gguf_windows

SHARED: dict[str, Any] = {"pre_norm": False, "output_norms": True, "qk_norm": "width"}


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    return llama_layout.config(values, default_eps=1e-5, **SHARED)


def gguf_config(values: CheckedValues, tensors: Mapping[str, StoredTensor], vocab_size: int) -> ModelConfig:
    """The configuration that GGUF metadata describes, also of OLMo 3: its blocks with a window scale no rotation."""
    heads, width, blocks = (
        values.count("attention.head_count"),
        values.count("embedding_length"),
        values.count("block_count"),
    )
    windows = read_gguf_windows(values, blocks, 4)
    rope = read_gguf_rope(values, tensors, width // heads)
    unscaled = Rope(base=rope.base, size=rope.size)
    ropes = tuple(unscaled if window else rope for window in windows)
    return llama_layout.gguf_config(
        values, tensors, vocab_size, rope=rope, block_ropes=ropes, windows=windows, **SHARED
    )


FAMILY = Family(
    model_type="olmo2",
    title="OLMo 2",
    prefix=llama_layout.PREFIX,
    names=gemma_layout.NAMES,
    gguf_names=gemma_layout.GGUF_NAMES,
    config=config,
    gguf_config=gguf_config,
)
