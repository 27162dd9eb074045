"""gpt-oss (OpenAI 2025): experts with biases and clamped gates, a sink in each head, a window in every other block.

Its experts are 4-bit floats in .safetensors files: `gate_up_proj_blocks` [E, 2m, d / 32, 16] with two numbers a byte
and `gate_up_proj_scales` [E, 2m, d / 32]; or, where they were converted, 16-bit floats `gate_up_proj` [E, d, 2m].
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from core.engine.config import Bias, Experts, ModelConfig
from core.formats.checked import CheckedValues
from core.formats.tensors import PACKED_FLOATS, StoredTensor
from core.language import _
from core.loading.families import llama_layout
from core.loading.families.expert_tensors import GGUF_PARTS, GGUF_ROUTER, MOST_EXPERTS, divided, expert_names
from core.loading.families.family import Family, KeyMap, one_count
from core.loading.families.layouts import neighboring_rows_apart, neighbors_apart, transposed
from core.loading.families.window_settings import read_gguf_windows, read_kinds, window_size, windows

BIASES: tuple[Bias, ...] = ("qkv", "out", "mlp")
EXPERTS = "layers.#.mlp.experts."


def names(config: ModelConfig, tensors: Collection[str]) -> KeyMap:
    """The names in .safetensors files, with one tensor for each expert."""
    count = config.experts.count if config.experts else 0
    packed = "_blocks" if any("_proj_blocks." in name for name in tensors) else ""
    experts = {f"blocks.#.feed_forward.experts.{n}.up": (f"{EXPERTS}gate_up_proj{packed}.{n}",) for n in range(count)}
    experts |= {f"blocks.#.feed_forward.experts.{n}.down": (f"{EXPERTS}down_proj{packed}.{n}",) for n in range(count)}
    others = {
        "blocks.#.attention.attend": ("layers.#.self_attn",),
        "blocks.#.feed_forward.router": ("layers.#.mlp.router",),
    }
    return {**llama_layout.NAMES, **others, **experts}


def gguf_names(config: ModelConfig, tensors: Collection[str]) -> KeyMap:
    """The names in GGUF files, with one tensor for each expert."""
    count = config.experts.count if config.experts else 0
    return {
        **llama_layout.GGUF_NAMES,
        "blocks.#.norm2": ("blk.#.post_attention_norm",),
        "blocks.#.attention.attend": ("blk.#.attn_sinks",),
        **expert_names(count, GGUF_ROUTER, *GGUF_PARTS),
    }


def arranged(values: CheckedValues, tensors: Mapping[str, StoredTensor]) -> Mapping[str, StoredTensor]:
    """Tensors with one for each expert.

    `gate_up_proj` [E, d, 2m] becomes `gate_up_proj.0.weight` [d, 2m] and so on, `gate_up_proj_blocks` becomes
    `gate_up_proj_blocks.0.weight` [2m, d], and its scales `gate_up_proj_blocks.0.weight_scales`.
    """
    single: dict[str, StoredTensor] = {}
    for name, stored in tensors.items():
        if found := re.fullmatch(r"(.+\.experts\.(?:gate_up|down)_proj)(|_bias|_blocks|_scales)", name):
            packed = "_blocks" if f"{found[1]}_blocks" in tensors else ""
            field = {"_bias": "bias", "_scales": "weight_scales"}.get(found[2], "weight")
            parts = divided(values, name, stored)
            if found[2] in ("_blocks", "_scales"):
                parts = _packed_floats(values, name, parts)
            single |= {f"{found[1]}{packed}.{n}.{field}": each for n, each in enumerate(parts)}
        else:
            single[name] = stored
    return single


def _packed_floats(values: CheckedValues, name: str, parts: Iterator[StoredTensor]) -> Iterator[StoredTensor]:
    """Blocks [rows, columns / 32, 16] of each expert as matrices [rows, columns]; scales as they are."""
    for part in parts:
        if part.dtype != "U8" or part.shape[2:] not in ((), (16,)) or len(part.shape) < 2:
            raise values.error(
                _("{name} is {dtype} {shape} (allowed: U8 with blocks of 16 bytes)").format(
                    name=name, dtype=part.dtype, shape=list(part.shape)
                )
            )
        is_block = len(part.shape) == 3
        yield replace(part, dtype=PACKED_FLOATS, shape=(part.shape[0], 32 * part.shape[1])) if is_block else part


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    values.assume(num_local_experts=128, sliding_window=128)
    values.require("swiglu_alpha", 1.702)
    values.require("attention_bias", True)
    kinds = read_kinds(values, values.count("num_hidden_layers"), lambda block: block % 2 == 0)
    experts = Experts(
        count=one_count(values, "num_local_experts", "num_experts"),
        used=one_count(values, "num_experts_per_tok", "experts_per_token"),
        size=values.count("intermediate_size"),
        normalized=True,
        router_bias=True,
    )
    return llama_layout.config(
        values,
        default_context=131_072,
        default_head_dim=64,
        default_base=150_000.0,
        default_eps=1e-5,
        windows=windows(values, window_size(values, 128), kinds),
        experts=experts,
        gate_limit=values.number("swiglu_limit", 1e-6, 1e6) if "swiglu_limit" in values.values else 7.0,
        activation="silu",
        sinks=True,
        biases=BIASES,
    )


def gguf_config(values: CheckedValues, tensors: Mapping[str, StoredTensor], vocab_size: int) -> ModelConfig:
    """The configuration that GGUF metadata describes. As in llama.cpp, YaRN's pairs are whole numbers."""
    experts = llama_layout.gguf_experts(values, normalized=True)
    return llama_layout.gguf_config(
        values,
        tensors,
        vocab_size,
        windows=read_gguf_windows(values, values.count("block_count"), 2),
        experts=replace(experts, router_bias=True) if experts else None,
        gate_limit=7.0,
        sinks=True,
        biases=BIASES,
    )


FAMILY = Family(
    model_type="gpt_oss",
    title="gpt-oss",
    prefix=llama_layout.PREFIX,
    names=names,
    architecture="gpt-oss",
    gguf_names=gguf_names,
    config=config,
    gguf_config=gguf_config,
    arranged=arranged,
    packed_floats=True,
    layouts={
        **{f"{EXPERTS}gate_up_proj.{n}": neighbors_apart for n in range(MOST_EXPERTS)},
        **{f"{EXPERTS}down_proj.{n}": transposed for n in range(MOST_EXPERTS)},
        **{f"{EXPERTS}gate_up_proj_blocks.{n}": neighboring_rows_apart for n in range(MOST_EXPERTS)},
    },
    without_effect=frozenset(("router_aux_loss_coef", "output_router_logits", "hidden_act", "initial_context_length")),
)
