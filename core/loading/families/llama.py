"""Llama (Touvron et al. 2023); SmolLM2 and TinyLlama are of this family too, and in GGUF Mistral and Mixtral."""

from collections.abc import Collection, Mapping

from core.engine.config import ModelConfig
from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.loading.families import llama_layout
from core.loading.families.expert_tensors import GGUF_OLD_PARTS, GGUF_PARTS, GGUF_ROUTER, expert_names
from core.loading.families.family import Family, KeyMap
from core.loading.families.layouts import pairs_apart


def gguf_names(config: ModelConfig, tensors: Collection[str]) -> KeyMap:
    """The names in GGUF files; the experts of Mixtral are stacked in one tensor, or in old files one tensor each."""
    if not config.experts:
        return llama_layout.GGUF_NAMES
    parts = GGUF_OLD_PARTS if "blk.0.ffn_gate.0.weight" in tensors else GGUF_PARTS
    return {**llama_layout.GGUF_NAMES, **expert_names(config.experts.count, GGUF_ROUTER, *parts)}


def gguf_config(values: CheckedValues, tensors: Mapping[str, StoredTensor], vocab_size: int) -> ModelConfig:
    """The configuration that GGUF metadata describes."""
    experts = llama_layout.gguf_experts(values, normalized=True)
    return llama_layout.gguf_config(values, tensors, vocab_size, experts=experts)


FAMILY = Family(
    model_type="llama",
    title="Llama",
    prefix=llama_layout.PREFIX,
    names=llama_layout.NAMES,
    gguf_names=gguf_names,
    config=llama_layout.config,
    gguf_config=gguf_config,
    gguf_layouts={"blk.#.attn_q": pairs_apart, "blk.#.attn_k": pairs_apart},
)
