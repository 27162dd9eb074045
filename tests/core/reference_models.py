"""Small random models of transformers, one for each family and option, to compare with."""

from typing import Any

import torch
import transformers
from torch import Tensor

LENGTH = 23
"""Ids in each sequence of `ids`."""
LLAMA = {
    "vocab_size": 83,
    "hidden_size": 40,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
SCALED = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", {"vocab_size": 83, "n_embd": 36, "n_layer": 3, "n_head": 6, "n_positions": 64, "n_inner": 50}),
    "gpt2-untied-relu": (
        "GPT2",
        {
            "vocab_size": 83,
            "n_embd": 20,
            "n_layer": 2,
            "n_head": 2,
            "n_positions": 24,
            "activation_function": "relu",
            "layer_norm_epsilon": 1e-3,
            "tie_word_embeddings": False,
        },
    ),
    "llama": ("Llama", {**LLAMA, "num_key_value_heads": 2}),
    "llama-one-kv-head-tied": ("Llama", {**LLAMA, "num_key_value_heads": 1, "tie_word_embeddings": True}),
    "llama-biases": ("Llama", {**LLAMA, "attention_bias": True, "mlp_bias": True, "rms_norm_eps": 1e-2}),
    "llama-head-dim": ("Llama", {**LLAMA, "head_dim": 14, "num_key_value_heads": 2}),
    "llama-scaled": ("Llama", {**LLAMA, "head_dim": 16, "num_key_value_heads": 4, "rope_parameters": SCALED}),
    "llama-linear": (
        "Llama",
        {**LLAMA, "rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 1e5}},
    ),
    "mistral": ("Mistral", {**LLAMA, "num_key_value_heads": 2, "head_dim": 6, "sliding_window": None}),
    "qwen2": (
        "Qwen2",
        {**LLAMA, "num_key_value_heads": 2, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    ),
    "qwen2-tied": ("Qwen2", {**LLAMA, "num_key_value_heads": 4, "tie_word_embeddings": True}),
    "mistral-window": ("Mistral", {**LLAMA, "num_key_value_heads": 2, "sliding_window": 5}),
    "qwen2-window": (
        "Qwen2",
        {**LLAMA, "num_key_value_heads": 2, "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
    ),
    "qwen2-late-window": (
        "Qwen2",
        {**LLAMA, "num_key_value_heads": 2, "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 3},
    ),
    "qwen3-layer-types": (
        "Qwen3",
        {
            **LLAMA,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "use_sliding_window": True,
            "sliding_window": 4,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "qwen3": ("Qwen3", {**LLAMA, "num_key_value_heads": 2, "head_dim": 24}),
    "qwen3-tied": ("Qwen3", {**LLAMA, "num_key_value_heads": 1, "head_dim": 8, "tie_word_embeddings": True}),
}

MODULES_ONLY = {
    "mistral-window": "windows",
    "qwen2-window": "windows",
    "qwen3-layer-types": "windows",
}
"""Cases that the compiled step does not compute, and a word of why."""


def reference(case: str, **changes: int) -> Any:
    """A transformers model whose parameters are all random, so that each one changes the logits."""
    name, values = CASES[case]
    config = getattr(transformers, f"{name}Config")(**values | changes)
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return model


def ids() -> Tensor:
    return torch.randint(0, 83, (2, LENGTH), generator=torch.Generator().manual_seed(3))
