"""The config.json files that models were published with are read, and give the sizes that transformers gives them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from core.loading import description

COMMON = {"architectures": ["X"], "torch_dtype": "float16", "transformers_version": "4.31.0", "use_cache": True}
PUBLISHED: dict[str, dict[str, Any]] = {
    "pythia-70m": {
        "model_type": "gpt_neox", "bos_token_id": 0, "eos_token_id": 0, "hidden_act": "gelu", "hidden_size": 512,
        "initializer_range": 0.02, "intermediate_size": 2048, "layer_norm_eps": 1e-05, "num_attention_heads": 8,
        "max_position_embeddings": 2048, "num_hidden_layers": 6, "rotary_emb_base": 10000, "rotary_pct": 0.25,
        "tie_word_embeddings": False, "use_parallel_residual": True, "vocab_size": 50304,
    },
    "gpt-j-6b": {
        "model_type": "gptj", "activation_function": "gelu_new", "attn_pdrop": 0.0, "bos_token_id": 50256,
        "embd_pdrop": 0.0, "eos_token_id": 50256, "gradient_checkpointing": False, "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05, "n_embd": 4096, "n_head": 16, "n_inner": None, "n_layer": 28,
        "n_positions": 2048, "resid_pdrop": 0.0, "rotary": True, "rotary_dim": 64, "scale_attn_weights": True,
        "summary_activation": None, "summary_first_dropout": 0.1, "summary_proj_to_labels": True,
        "summary_type": "cls_index", "summary_use_proj": True, "tie_word_embeddings": False, "vocab_size": 50400,
        "task_specific_params": {"text-generation": {"do_sample": True}}, "tokenizer_class": "GPT2Tokenizer",
    },
    "opt-125m": {
        "model_type": "opt", "_name_or_path": "facebook/opt-125m", "activation_dropout": 0.0, "dropout": 0.1,
        "activation_function": "relu", "attention_dropout": 0.0, "bos_token_id": 2, "do_layer_norm_before": True,
        "eos_token_id": 2, "ffn_dim": 3072, "hidden_size": 768, "init_std": 0.02, "layerdrop": 0.0,
        "max_position_embeddings": 2048, "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 1,
        "prefix": "</s>", "vocab_size": 50272, "word_embed_proj_dim": 768,
    },
    "opt-350m": {
        "model_type": "opt", "_remove_final_layer_norm": False, "activation_dropout": 0.0, "dropout": 0.1,
        "activation_function": "relu", "attention_dropout": 0.0, "bos_token_id": 2, "do_layer_norm_before": False,
        "eos_token_id": 2, "ffn_dim": 4096, "hidden_size": 1024, "init_std": 0.02, "layerdrop": 0.0,
        "max_position_embeddings": 2048, "num_attention_heads": 16, "num_hidden_layers": 24, "pad_token_id": 1,
        "prefix": "</s>", "vocab_size": 50272, "word_embed_proj_dim": 512,
    },
    "bloom-560m": {
        "model_type": "bloom", "apply_residual_connection_post_layernorm": False, "attention_dropout": 0.0,
        "attention_softmax_in_fp32": True, "bias_dropout_fusion": True, "bos_token_id": 1, "eos_token_id": 2,
        "pad_token_id": 3, "unk_token_id": 0, "hidden_dropout": 0.0, "initializer_range": 0.02, "n_inner": None,
        "layer_norm_epsilon": 1e-05, "masked_softmax_fusion": True, "n_embed": 1024, "n_layer": 24,
        "num_attention_heads": 16, "offset_alibi": 100, "pretraining_tp": 1, "seq_length": 2048,
        "skip_bias_add": True, "skip_bias_add_qkv": False, "slow_but_exact": False, "vocab_size": 250880,
    },
    "falcon-7b": {
        "model_type": "falcon", "alibi": False, "apply_residual_connection_post_layernorm": False, "auto_map": {},
        "attention_dropout": 0.0, "bias": False, "bos_token_id": 11, "eos_token_id": 11, "hidden_dropout": 0.0,
        "hidden_size": 4544, "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "multi_query": True,
        "new_decoder_architecture": False, "num_attention_heads": 71, "num_hidden_layers": 32, "parallel_attn": True,
        "vocab_size": 65024,
    },
    "falcon-40b": {
        "model_type": "falcon", "alibi": False, "apply_residual_connection_post_layernorm": False, "bias": False,
        "attention_dropout": 0.0, "bos_token_id": 11, "eos_token_id": 11, "hidden_dropout": 0.0,
        "hidden_size": 8192, "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "num_kv_heads": 8,
        "new_decoder_architecture": True, "num_attention_heads": 128, "num_hidden_layers": 60,
        "parallel_attn": True, "multi_query": True, "vocab_size": 65024,
    },
    "falcon-rw-1b": {
        "model_type": "falcon", "alibi": True, "apply_residual_connection_post_layernorm": False, "bias": True,
        "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "hidden_dropout": 0.0, "hidden_size": 2048,
        "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "multi_query": False, "num_attention_heads": 32,
        "new_decoder_architecture": False, "num_hidden_layers": 24, "parallel_attn": False, "vocab_size": 50304,
    },
    "phi-2": {
        "model_type": "phi", "attention_dropout": 0.0, "bos_token_id": 50256, "embd_pdrop": 0.0, "resid_pdrop": 0.1,
        "eos_token_id": 50256, "hidden_act": "gelu_new", "hidden_size": 2560, "initializer_range": 0.02,
        "intermediate_size": 10240, "layer_norm_eps": 1e-05, "max_position_embeddings": 2048,
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32, "qk_layernorm": False,
        "partial_rotary_factor": 0.4, "rope_scaling": None, "rope_theta": 10000.0, "tie_word_embeddings": False,
        "vocab_size": 51200,
    },
    "phi-3-mini-4k": {
        "model_type": "phi3", "attention_bias": False, "attention_dropout": 0.0, "auto_map": {}, "bos_token_id": 1,
        "embd_pdrop": 0.0, "eos_token_id": 32000, "hidden_act": "silu", "hidden_size": 3072,
        "initializer_range": 0.02, "intermediate_size": 8192, "max_position_embeddings": 4096,
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32, "pad_token_id": 32000,
        "original_max_position_embeddings": 4096, "resid_pdrop": 0.0, "rms_norm_eps": 1e-05, "rope_scaling": None,
        "rope_theta": 10000.0, "sliding_window": 2047, "tie_word_embeddings": False, "vocab_size": 32064,
    },
    "phi-4-mini": {
        "model_type": "phi3", "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 199999,
        "embd_pdrop": 0.0, "eos_token_id": 199999, "full_attn_mod": 1, "hidden_act": "silu", "hidden_size": 3072,
        "initializer_range": 0.02, "intermediate_size": 8192, "interpolate_factor": 1, "lm_head_bias": False,
        "max_position_embeddings": 131072, "mlp_bias": False, "num_attention_heads": 24, "num_hidden_layers": 32,
        "num_key_value_heads": 8, "original_max_position_embeddings": 4096, "pad_token_id": 199999,
        "partial_rotary_factor": 0.75, "resid_pdrop": 0.0, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
        "rope_scaling": {"type": "longrope", "long_factor": [1.0] * 48, "short_factor": [1.0] * 48},
        "sliding_window": 262144, "tie_word_embeddings": True, "vocab_size": 200064,
    },
}  # fmt: skip
"""Settings of models on the Hub, with the names and switches that each family's files have."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_config_has_the_parameters_of_transformers(name: str, tmp_path: Path) -> None:
    """Every setting is known; the count of parameters is that of the model that transformers makes of it.

    The first two positions of OPT are of padding, and never used: ours begin behind them.
    """
    values = COMMON | PUBLISHED[name]
    (tmp_path / "config.json").write_text(json.dumps(values))
    _, ours, _ = description.read_settings(tmp_path)
    settings = {key: value for key, value in values.items() if key != "torch_dtype"}
    config = transformers.CONFIG_MAPPING[settings.pop("model_type")](**settings)
    with torch.device("meta"):
        theirs = transformers.AutoModelForCausalLM.from_config(config)
    padding = 2 * config.hidden_size if name.startswith("opt") else 0
    assert ours.parameter_count() == theirs.num_parameters() - padding
    assert ours.head_dim * ours.heads == config.hidden_size
