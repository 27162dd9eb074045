"""Gemma 2 (Riviere et al. 2024): four norms in a block, soft caps, a sliding window in every other block."""

from collections.abc import Mapping

from core.engine.config import ModelConfig
from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.loading.families import gemma_layout, llama_layout
from core.loading.families.family import Family
from core.loading.families.gemma_layout import cap
from core.loading.families.window_settings import read_gguf_kinds, read_kinds, window_size, windows

WINDOW = 4096
"""Positions, where a file does not say."""
ATTENTION_CAP, LOGIT_CAP = 50.0, 30.0


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    kinds = read_kinds(values, values.count("num_hidden_layers"), lambda block: block % 2 == 0)
    return gemma_layout.config(
        values,
        activation_key="hidden_activation",
        default_context=8192,
        windows=windows(values, window_size(values, WINDOW), kinds),
        attention_scale=gemma_layout.attention_scale(values),
        attention_cap=cap(values, "attn_logit_softcapping", ATTENTION_CAP),
        logit_cap=cap(values, "final_logit_softcapping", LOGIT_CAP),
        output_norms=True,
    )


def gguf_config(values: CheckedValues, tensors: Mapping[str, StoredTensor], vocab_size: int) -> ModelConfig:
    """The configuration that GGUF metadata describes."""
    kinds = read_gguf_kinds(values, values.count("block_count"), 2)
    return gemma_layout.gguf_config(
        values,
        tensors,
        vocab_size,
        windows=windows(values, values.get("attention.sliding_window", WINDOW), kinds),
        attention_scale=gemma_layout.gguf_attention_scale(values, 46),
        attention_cap=cap(values, "attn_logit_softcapping", ATTENTION_CAP),
        logit_cap=cap(values, "final_logit_softcapping", LOGIT_CAP),
        output_norms=True,
    )


FAMILY = Family(
    model_type="gemma2",
    title="Gemma 2",
    prefix=llama_layout.PREFIX,
    names=gemma_layout.NAMES,
    gguf_names=gemma_layout.GGUF_NAMES,
    config=config,
    gguf_config=gguf_config,
    layouts=gemma_layout.LAYOUTS,
    without_effect=frozenset(("hidden_act",)),
)
