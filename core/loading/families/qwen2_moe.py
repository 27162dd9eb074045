"""Qwen2 whose MLPs are experts in some or all blocks, with an expert that every position uses (Yang et al. 2024)."""

from collections.abc import Collection, Mapping

from core.engine.config import ModelConfig
from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.loading.families import llama_layout, qwen3_moe
from core.loading.families.family import Family, KeyMap
from core.loading.families.layouts import one_row
from core.loading.families.window_settings import read_kinds, window_size, windows

SHARED = "blocks.#.feed_forward.shared"


def names(config: ModelConfig, tensors: Collection[str]) -> KeyMap:
    """The names in .safetensors files."""
    shared = "layers.#.mlp.shared_expert"
    return {
        **qwen3_moe.names(config, tensors),
        f"{SHARED}.router": (f"{shared}_gate",),
        f"{SHARED}.expert.up": (f"{shared}.gate_proj", f"{shared}.up_proj"),
        f"{SHARED}.expert.down": (f"{shared}.down_proj",),
    }


def gguf_names(config: ModelConfig, tensors: Collection[str]) -> KeyMap:
    """The names in GGUF files, with one tensor for each expert."""
    return {
        **qwen3_moe.gguf_names(config, tensors),
        f"{SHARED}.router": ("blk.#.ffn_gate_inp_shexp",),
        f"{SHARED}.expert.up": ("blk.#.ffn_gate_shexp", "blk.#.ffn_up_shexp"),
        f"{SHARED}.expert.down": ("blk.#.ffn_down_shexp",),
    }


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    slides, last = values.get("use_sliding_window", False), values.get("max_window_layers", 28)
    size = window_size(values, 4096) * slides
    kinds = read_kinds(values, values.count("num_hidden_layers"), lambda n: slides and n % 2 == 0 and n < last)
    shared_size = values.integer("shared_expert_intermediate_size", low=1, default=5632)
    return llama_layout.config(
        values,
        default_context=32_768,
        experts=qwen3_moe.read_experts(values, count=60, used=4, size=1408, shared_size=shared_size),
        windows=windows(values, size, kinds),
        biases=llama_layout.biases(values, qkv=values.get("qkv_bias", True), out=False),
    )


def gguf_config(values: CheckedValues, tensors: Mapping[str, StoredTensor], vocab_size: int) -> ModelConfig:
    """The configuration that GGUF metadata describes. Older files leave out the size of the shared expert."""
    shared = tensors.get("blk.0.ffn_up_shexp.weight")
    size = values.get("expert_shared_feed_forward_length", shared.shape[0] if shared else 0)
    experts = llama_layout.gguf_experts(values, normalized=False, shared_size=size)
    return llama_layout.gguf_config(values, tensors, vocab_size, experts=experts)


FAMILY = Family(
    model_type="qwen2_moe",
    title="Qwen2-MoE",
    prefix=llama_layout.PREFIX,
    names=names,
    architecture="qwen2moe",
    gguf_names=gguf_names,
    config=config,
    gguf_config=gguf_config,
    gguf_layouts={"blk.#.ffn_gate_inp_shexp": one_row},
    without_effect=qwen3_moe.WITHOUT_EFFECT,
)
