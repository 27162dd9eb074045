"""Small random models of transformers, one for each family and option, to compare with."""

from typing import Any

import torch
import transformers
from torch import Tensor

LENGTH, LONG = 23, 210
"""Ids in each sequence of `ids` and of `long_ids`."""
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
OPT = {
    "vocab_size": 83,
    "hidden_size": 40,
    "ffn_dim": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
NEOX = {
    "vocab_size": 83,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
GPTJ = {
    "vocab_size": 83,
    "n_embd": 64,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 256,
    "rotary_dim": 6,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
FALCON = {
    "vocab_size": 83,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
PHI = {**NEOX, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 100.0,
    "short_factor": [1.0, 1.1, 1.3, 1.6, 2.0, 3.0],
    "long_factor": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    "original_max_position_embeddings": 512,
}
BLOOM = {"vocab_size": 83, "hidden_size": 40, "n_layer": 3, "n_head": 4}
MOE = {**LLAMA, "num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 24}
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
    "ministral": (
        "Ministral",
        {
            **LLAMA,
            "head_dim": 10,
            "num_key_value_heads": 2,
            "sliding_window": 5,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
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
    "gemma": ("Gemma", {**LLAMA, "num_key_value_heads": 1, "head_dim": 12, "hidden_act": "gelu"}),
    "gemma2": (
        "Gemma2",
        {
            **LLAMA,
            "num_key_value_heads": 2,
            "head_dim": 12,
            "sliding_window": 5,
            "query_pre_attn_scalar": 20,
            "attn_logit_softcapping": 3.0,
            "final_logit_softcapping": 6.0,
        },
    ),
    "gemma2-no-caps": (
        "Gemma2",
        {
            **LLAMA,
            "num_key_value_heads": 4,
            "head_dim": 8,
            "sliding_window": 5,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "tie_word_embeddings": False,
        },
    ),
    "gemma2-layer-types": (
        "Gemma2",
        {
            **LLAMA,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "sliding_window": 7,
            "layer_types": ["full_attention", "full_attention", "sliding_attention"],
        },
    ),
    "gemma3": (
        "Gemma3Text",
        {
            **LLAMA,
            "num_key_value_heads": 2,
            "head_dim": 12,
            "sliding_window": 5,
            "query_pre_attn_scalar": 20,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 700.0},
                "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 9000.0},
            },
            "final_logit_softcapping": 7.0,
        },
    ),
    "olmo3": (
        "Olmo3",
        {
            **LLAMA,
            "num_hidden_layers": 4,
            "num_key_value_heads": 2,
            "sliding_window": 6,
            "pad_token_id": 0,
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 700.0},
                "full_attention": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "rope_theta": 700.0,
                    "original_max_position_embeddings": 16,
                },
            },
        },
    ),
    "olmo2": ("Olmo2", {**LLAMA, "num_key_value_heads": 2, "attention_bias": True, "pad_token_id": 0}),
    "smollm3": ("SmolLM3", {**LLAMA, "num_key_value_heads": 2, "no_rope_layer_interval": 2, "pad_token_id": 0}),
    "smollm3-layers": (
        "SmolLM3",
        {
            **LLAMA,
            "num_key_value_heads": 4,
            "no_rope_layers": [0, 1, 0],
            "use_sliding_window": True,
            "sliding_window": 6,
            "pad_token_id": 0,
            "tie_word_embeddings": False,
        },
    ),
    "granite": (
        "Granite",
        {
            **LLAMA,
            "num_key_value_heads": 2,
            "attention_multiplier": 0.2,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.6,
            "logits_scaling": 5.0,
            "attention_bias": True,
            "mlp_bias": True,
        },
    ),
    "mixtral": (
        "Mixtral",
        {**LLAMA, "num_key_value_heads": 2, "num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": 9},
    ),
    "qwen2-moe": ("Qwen2Moe", {**MOE, "num_key_value_heads": 4, "shared_expert_intermediate_size": 20}),
    "qwen2-moe-some": (
        "Qwen2Moe",
        {
            **MOE,
            "num_key_value_heads": 2,
            "shared_expert_intermediate_size": 24,
            "mlp_only_layers": [1],
            "norm_topk_prob": True,
            "use_sliding_window": True,
            "sliding_window": 6,
            "max_window_layers": 2,
        },
    ),
    "gpt-oss": (
        "GptOss",
        {
            **LLAMA,
            "num_key_value_heads": 2,
            "head_dim": 12,
            "num_local_experts": 5,
            "num_experts_per_tok": 2,
            "sliding_window": 6,
            "swiglu_limit": 0.9,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 900.0,
                "factor": 4.0,
                "truncate": False,
                "original_max_position_embeddings": 16,
            },
        },
    ),
    "qwen3-moe": ("Qwen3Moe", {**MOE, "num_key_value_heads": 2, "head_dim": 12, "norm_topk_prob": True}),
    "qwen3-moe-some": ("Qwen3Moe", {**MOE, "num_key_value_heads": 2, "head_dim": 8, "decoder_sparse_step": 2}),
    "qwen3-tied": ("Qwen3", {**LLAMA, "num_key_value_heads": 1, "head_dim": 8, "tie_word_embeddings": True}),
    "opt": ("OPT", {**OPT}),
    "opt-norms-after": ("OPT", {**OPT, "do_layer_norm_before": False, "word_embed_proj_dim": 24}),
    "opt-untied-gelu": (
        "OPT",
        {**OPT, "activation_function": "gelu", "enable_bias": False, "tie_word_embeddings": False},
    ),
    "bloom": ("Bloom", {**BLOOM}),
    "bloom-six-heads-untied": (
        "Bloom",
        {**BLOOM, "hidden_size": 36, "n_head": 6, "tie_word_embeddings": False, "layer_norm_epsilon": 1e-3},
    ),
    "pythia": ("GPTNeoX", {**NEOX}),
    "neox-sequential-tied": (
        "GPTNeoX",
        {
            **NEOX,
            "use_parallel_residual": False,
            "rotary_pct": 1.0,
            "rotary_emb_base": 500,
            "hidden_act": "gelu_fast",
            "attention_bias": False,
            "layer_norm_eps": 1e-3,
            "tie_word_embeddings": True,
        },
    ),
    "gptj": ("GPTJ", {**GPTJ}),
    "gptj-whole-heads": ("GPTJ", {**GPTJ, "rotary_dim": 16, "n_inner": 90, "layer_norm_epsilon": 1e-3}),
    "falcon-7b": ("Falcon", {**FALCON}),
    "falcon-40b": ("Falcon", {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2, "ffn_hidden_size": 90}),
    "falcon-11b": (
        "Falcon",
        {
            **FALCON,
            "new_decoder_architecture": True,
            "num_kv_heads": 2,
            "num_ln_in_parallel_attn": 1,
            "tie_word_embeddings": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
        },
    ),
    "falcon-rw": (
        "Falcon",
        {
            **FALCON,
            "alibi": True,
            "multi_query": False,
            "parallel_attn": False,
            "bias": True,
            "layer_norm_epsilon": 1e-3,
        },
    ),
    "phi-2": ("Phi", {**PHI}),
    "phi-grouped": ("Phi", {**PHI, "num_key_value_heads": 2, "partial_rotary_factor": 0.25, "hidden_act": "gelu"}),
    "phi-3": ("Phi3", {**PHI, "num_key_value_heads": 2, "sliding_window": None}),
    "phi-3-window": ("Phi3", {**PHI, "sliding_window": 16}),
    "phi-3-partial": (
        "Phi3",
        {
            **PHI,
            "num_key_value_heads": 1,
            "partial_rotary_factor": 0.75,
            "rope_parameters": LONGROPE,
            "original_max_position_embeddings": 512,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": True,
        },
    ),
}


def reference(case: str, **changes: int) -> Any:
    """A transformers model whose parameters are all random, so that each one changes the logits."""
    name, values = CASES[case]
    config = getattr(transformers, f"{name}Config")(**values | changes)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return model


def long_context(case: str) -> dict[str, int]:
    """Changes with which a case has positions for `long_ids`; none where it has them anyway."""
    values = CASES[case][1]
    return {name: 256 for name in ("n_positions", "max_position_embeddings") if values.get(name, LONG) < LONG}


def wide(case: str) -> dict[str, int]:
    """Changes of sizes with which each matrix of a case is whole groups of 32 columns wide."""
    match CASES[case][0]:
        case "GPT2" | "GPTJ":
            return {"n_embd": 96, "n_inner": 128}
        case "OPT":
            return {"hidden_size": 96, "ffn_dim": 128}
        case "Bloom":
            return {"hidden_size": 96}
        case "Falcon":
            return {"hidden_size": 96, "ffn_hidden_size": 128}
    return {"hidden_size": 64, "intermediate_size": 96}


def ids(length: int = LENGTH) -> Tensor:
    return torch.randint(0, 83, (2, length), generator=torch.Generator().manual_seed(3))


def long_ids() -> Tensor:
    return ids(LONG)
