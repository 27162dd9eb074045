"""Mixtral (Jiang et al. 2024): Mistral whose MLPs are experts. GGUF files call it Llama."""

from collections.abc import Collection

from core.engine.config import Experts, ModelConfig
from core.formats.checked import CheckedValues
from core.loading.families import llama_layout
from core.loading.families.expert_tensors import expert_names
from core.loading.families.family import Family, KeyMap, one_count
from core.loading.families.window_settings import read_kinds, window_size, windows


def names(config: ModelConfig, tensors: Collection[str]) -> KeyMap:
    """The names in .safetensors files."""
    experts = "layers.#.block_sparse_moe.experts.{}."
    count = config.experts.count if config.experts else 0
    parts = (experts + part for part in ("w1", "w3", "w2"))
    return {**llama_layout.NAMES, **expert_names(count, "layers.#.block_sparse_moe.gate", *parts)}


def config(values: CheckedValues) -> ModelConfig:
    """The configuration that a config.json describes."""
    values.assume(num_local_experts=8)
    size = window_size(values, 0)
    kinds = read_kinds(values, values.count("num_hidden_layers"), lambda block: size != 0)
    experts = Experts(
        count=one_count(values, "num_local_experts", "num_experts"),
        used=values.integer("num_experts_per_tok", low=1, default=2),
        size=values.count("intermediate_size"),
        normalized=True,
    )
    return llama_layout.config(
        values,
        default_context=32 * 4096,
        default_base=1e6,
        default_eps=1e-5,
        experts=experts,
        biases=(),
        windows=windows(values, size, kinds),
    )


FAMILY = Family(
    model_type="mixtral",
    title="Mixtral",
    prefix=llama_layout.PREFIX,
    names=names,
    config=config,
    without_effect=frozenset(("router_aux_loss_coef", "router_jitter_noise", "output_router_logits")),
)
