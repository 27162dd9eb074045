"""Gemma 3 (Kamath et al. 2025) with its vision model, which is not used: the language model alone."""

from collections.abc import Mapping
from dataclasses import replace

from core.engine.config import ModelConfig
from core.engine.rope import Rope
from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.loading.families import gemma3_text, gemma_layout
from core.loading.families.family import Family
from core.loading.families.rope_settings import read_gguf_rope
from core.loading.families.window_settings import read_gguf_windows

OTHER_PARTS = ("vision_tower.", "multi_modal_projector.")
"""Beginnings of the names of tensors of the vision model."""

TOKENS = tuple(f"{kind}_token_{key}" for kind in ("boi", "eoi", "image") for key in ("id", "index"))
VISION = frozenset(("vision_config", "mm_tokens_per_image", *TOKENS))
"""Settings of the vision model."""


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes, in its `text_config`."""
    text = values.object("text_config")
    text.require("model_type", "gemma3_text")
    text.require("final_logit_softcapping", 0.0)  # which transformers leaves out where there is a vision model
    return replace(gemma3_text.config(text), tied=values.get("tie_word_embeddings", True))


def gguf_config(values: CheckedValues, tensors: Mapping[str, StoredTensor], vocab_size: int) -> ModelConfig:
    """The configuration that GGUF metadata describes; the blocks with a window have a rotation of their own."""
    blocks = values.count("block_count")
    head_dim = values.get("attention.key_length", 0)
    head_dim = head_dim or values.count("embedding_length") // values.count("attention.head_count")
    windows = read_gguf_windows(values, blocks, gemma3_text.PERIOD)
    rope = read_gguf_rope(values, tensors, head_dim)
    local = Rope(base=values.get("rope.freq_base_swa", gemma3_text.LOCAL_BASE), size=rope.size)
    return gemma_layout.gguf_config(
        values,
        tensors,
        vocab_size,
        rope=rope,
        block_ropes=tuple(local if window else rope for window in windows),
        windows=windows,
        attention_scale=gemma_layout.gguf_attention_scale(values, 62),
        logit_cap=gemma_layout.cap(values, "final_logit_softcapping", 0.0),
        output_norms=True,
    )


FAMILY = Family(
    model_type="gemma3",
    title="Gemma 3",
    prefix="language_model.model.",
    other_prefixes=("model.language_model.", "language_model.", "model."),
    other_parts=OTHER_PARTS,
    names=gemma_layout.NAMES,
    gguf_names=gemma_layout.GGUF_NAMES,
    config=config,
    gguf_config=gguf_config,
    layouts=gemma3_text.LAYOUTS,
    without_effect=gemma3_text.FAMILY.without_effect | VISION,
)
