"""Qwen3 whose MLPs are experts in some or all blocks (Yang et al. 2025)."""

from collections.abc import Collection, Mapping

from core.engine.config import Experts, ModelConfig
from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.loading.families import llama_layout
from core.loading.families.expert_tensors import GGUF_PARTS, GGUF_ROUTER, expert_names
from core.loading.families.family import Family, KeyMap, one_count
from core.loading.families.window_settings import read_kinds, window_size, windows

WITHOUT_EFFECT = frozenset(("router_aux_loss_coef", "output_router_logits"))


def names(config: ModelConfig, tensors: Collection[str]) -> KeyMap:
    """The names in .safetensors files."""
    parts = (f"layers.#.mlp.experts.{{}}.{part}_proj" for part in ("gate", "up", "down"))
    count = config.experts.count if config.experts else 0
    return {**llama_layout.NAMES, **expert_names(count, "layers.#.mlp.gate", *parts)}


def gguf_names(config: ModelConfig, tensors: Collection[str]) -> KeyMap:
    """The names in GGUF files, with one tensor for each expert."""
    count = config.experts.count if config.experts else 0
    return {**llama_layout.GGUF_NAMES, **expert_names(count, GGUF_ROUTER, *GGUF_PARTS)}


def read_experts(values: CheckedValues, *, count: int, used: int, size: int, shared_size: int = 0) -> Experts | None:
    """The experts that a config.json describes; the numbers are those of a file that leaves them out."""
    values.assume(num_experts=count)
    blocks = values.integer("num_hidden_layers", low=1, below=10_000)
    step = values.integer("decoder_sparse_step", low=1, default=1)
    dense = values.items("mlp_only_layers") if values.values.get("mlp_only_layers") is not None else []
    kinds = tuple(block not in dense and (block + 1) % step == 0 for block in range(blocks))
    experts = Experts(
        count=one_count(values, "num_experts", "num_local_experts"),
        used=values.integer("num_experts_per_tok", low=1, default=used),
        size=values.integer("moe_intermediate_size", low=1, default=size),
        normalized=values.get("norm_topk_prob", False),
        shared_size=shared_size,
        blocks=() if all(kinds) else kinds,
    )
    return experts if any(kinds) else None


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    size = window_size(values, 4096) * values.get("use_sliding_window", False)
    kinds = read_kinds(values, values.count("num_hidden_layers"), lambda block: size != 0)
    return llama_layout.config(
        values,
        default_context=32_768,
        experts=read_experts(values, count=128, used=8, size=768),
        windows=windows(values, size, kinds),
        qk_norm="head",
    )


def gguf_config(values: CheckedValues, tensors: Mapping[str, StoredTensor], vocab_size: int) -> ModelConfig:
    """The configuration that GGUF metadata describes."""
    return llama_layout.gguf_config(
        values, tensors, vocab_size, experts=llama_layout.gguf_experts(values, normalized=True)
    )


FAMILY = Family(
    model_type="qwen3_moe",
    title="Qwen3-MoE",
    prefix=llama_layout.PREFIX,
    names=names,
    architecture="qwen3moe",
    gguf_names=gguf_names,
    config=config,
    gguf_config=gguf_config,
    without_effect=WITHOUT_EFFECT,
)
