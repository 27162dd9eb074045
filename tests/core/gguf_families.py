"""Writes GGUF files of the reference models of many families, in the layouts of llama.cpp's converter."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf_files import PARTS, Q

FOUR_NORMS = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}

SHARED = {
    "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
    "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp",
    "mlp.gate.": "ffn_gate_inp.",
}


@dataclass(frozen=True)
class Layout:
    """How llama.cpp lays out a family."""

    architecture: str
    says: dict[str, Any] = field(default_factory=dict)
    """Settings beside the sizes, without the architecture."""
    parts: dict[str, str] = field(default_factory=dict)
    """Names of modules that differ from those of Llama."""
    pairs: bool = False
    """Whether the two rows of a rotary pair are next to each other in queries and keys."""
    one_more: bool = False
    """Whether norms hold 1 + w."""


CAPS = {"attn_logit_softcapping": 3.0, "final_logit_softcapping": 6.0}
LAYOUTS: dict[str, Layout] = {
    "gemma": Layout("gemma", one_more=True),
    "gemma2-head": Layout("gemma2", {**CAPS, "attention.sliding_window": 5}, FOUR_NORMS, one_more=True),
    "gemma3": Layout(
        "gemma3",
        {
            "attention.sliding_window": 5,
            "attention.sliding_window_pattern": [True, False, True],
            "rope.freq_base_swa": 700.0,
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 4.0,
            "final_logit_softcapping": 7.0,
        },
        FOUR_NORMS,
        one_more=True,
    ),
    "olmo3": Layout(
        "olmo2",
        {
            "attention.sliding_window": 6,
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 16,
        },
        FOUR_NORMS,
    ),
    "mixtral-full": Layout(
        "llama",
        {"expert_count": 5, "expert_used_count": 2},
        {"block_sparse_moe.gate": "ffn_gate_inp", "mlp.gate.": "ffn_gate_inp."},
        pairs=True,
    ),
    "qwen2-moe": Layout(
        "qwen2moe",
        {
            "expert_count": 6,
            "expert_used_count": 3,
            "expert_feed_forward_length": 24,
            "expert_shared_feed_forward_length": 20,
        },
        SHARED,
    ),
    "gpt-oss": Layout(
        "gpt-oss",
        {
            "expert_count": 5,
            "expert_used_count": 2,
            "expert_feed_forward_length": 56,
            "attention.sliding_window": 6,
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 16,
        },
        {
            "post_attention_layernorm": "post_attention_norm",
            "self_attn.sinks": "attn_sinks.weight",
            "mlp.router": "ffn_gate_inp",
        },
    ),
    "qwen3-moe": Layout(
        "qwen3moe", {"expert_count": 6, "expert_used_count": 3, "expert_feed_forward_length": 24}, SHARED
    ),
    "olmo2": Layout("olmo2", parts=FOUR_NORMS),
    "smollm3-four": Layout("smollm3", pairs=True),
    "granite": Layout(
        "granite",
        {"attention.scale": 0.2, "embedding_scale": 3.0, "residual_scale": 0.6, "logit_scale": 5.0},
        pairs=True,
    ),
}
"""By reference model."""


def write(path: Path, model: Any, layout: Layout, kind: Q = Q.F32) -> None:
    """Write a model; its matrices in the number format `kind`."""
    config = model.config
    writer = gguf.GGUFWriter(path, layout.architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    head_dim = model.model.layers[0].self_attn.head_dim
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    for key, value in layout.says.items():
        writer.add_key_value(f"{layout.architecture}.{key}", value, gguf.GGUFValueType.get_type(value))
    for name, numbers in arranged(model, layout):
        exact = kind if numbers.ndim > 1 and not name.endswith("bias") else Q.F32
        packed = gguf.quantize(numbers, exact)
        writer.add_tensor(name, packed, raw_dtype=None if exact in (Q.F32, Q.F16) else exact)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def arranged(model: Any, layout: Layout) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors of a model as llama.cpp names and orders them."""
    config, parts = model.config, {**PARTS, **layout.parts}
    for name, value in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        numbers = value.float().numpy()
        if layout.architecture == "gpt-oss" and ".experts." in name:
            yield from _of_gpt_oss(name.replace("model.layers.", "blk."), numbers)
            continue
        if name.endswith("experts.gate_up_proj"):
            for part, half in zip(("gate", "up"), np.split(numbers, 2, axis=1), strict=True):
                yield (
                    name.replace("model.layers.", "blk.").replace(
                        "mlp.experts.gate_up_proj", f"ffn_{part}_exps.weight"
                    ),
                    half,
                )
            continue
        if name.endswith("experts.down_proj"):
            yield (
                name.replace("model.layers.", "blk.").replace("mlp.experts.down_proj", "ffn_down_exps.weight"),
                numbers,
            )
            continue
        if name.endswith("shared_expert_gate.weight"):
            numbers = numbers[0]
        if layout.pairs and (".q_proj" in name or ".k_proj" in name):
            heads = config.num_attention_heads if ".q_proj" in name else config.num_key_value_heads
            numbers = numbers.reshape(heads, 2, -1, *numbers.shape[1:]).swapaxes(1, 2).reshape(numbers.shape)
        if layout.one_more and name.endswith("norm.weight"):
            numbers = numbers + 1
        for theirs, ours in parts.items():
            name = name.replace(theirs, ours)  # noqa: PLW2901
        yield name.replace("model.layers.", "blk."), numbers


def _of_gpt_oss(name: str, numbers: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The experts: transposed, and the two halves that take turns apart."""
    field = "bias" if name.endswith("_bias") else "weight"
    rows = numbers if field == "bias" else numbers.swapaxes(1, 2)
    before = name.partition("mlp.")[0]
    if "down" in name:
        yield f"{before}ffn_down_exps.{field}", np.ascontiguousarray(rows)
    else:
        for part, first in (("gate", 0), ("up", 1)):
            yield f"{before}ffn_{part}_exps.{field}", np.ascontiguousarray(rows[:, first::2])
