"""Gemma (Mesnard et al. 2024): Llama with a scaled embedding, GeGLU and norms of 1 + w."""

from core.engine.config import ModelConfig
from core.formats.checked import CheckedValues
from core.loading.families import gemma_layout, llama_layout
from core.loading.families.family import Family


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes. `gelu` means its approximation by a tanh in old files."""
    fields = {"activation": "gelu_tanh"} if values.get("hidden_act", "") == "gelu" else {}
    return gemma_layout.config(values, activation_key="hidden_act", default_context=8192, **fields)


FAMILY = Family(
    model_type="gemma",
    title="Gemma",
    prefix=llama_layout.PREFIX,
    names=llama_layout.NAMES,
    gguf_names=llama_layout.GGUF_NAMES,
    config=config,
    gguf_config=gemma_layout.gguf_config,
    layouts=gemma_layout.LAYOUTS,
    without_effect=frozenset(("hidden_activation",)),
)
