"""Writes GGUF files of small transformers models, as llama.cpp's converter does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from torch import Tensor

LLAMA = {
    "vocab_size": 61,
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32,
}


def saved(folder: Path, name: str = "Llama", **values: Any) -> Any:
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForCausalLM")(getattr(transformers, f"{name}Config")(**LLAMA | values)).eval()
    model.save_pretrained(folder)
    return model


PARTS = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
Q = gguf.GGMLQuantizationType


def gguf_name(name: str) -> str:
    for theirs, ours in PARTS.items():
        name = name.replace(theirs, ours)
    return name.replace("model.layers.", "blk.")


def write_gguf(
    path: Path,
    model: Any,
    kind: Q = Q.F32,
    says: dict[str, Any] | None = None,
    tensors: dict[str, Tensor] | None = None,
    keys: dict[str, Any] | None = None,
    kinds: dict[str, Q] | None = None,
    quantize: Callable[[Any, Q], Any] = gguf.quantize,
) -> dict[str, Tensor]:
    """Write a model as llama.cpp's converter does; returns its numbers after quantization, by Hugging Face names.

    `says` are settings of the architecture, `keys` any others; `kinds` are formats of single tensors.
    """
    config, architecture = model.config, model.config.model_type
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if "rope.freq_base" not in (says or {}):
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_key_length(model.model.layers[0].self_attn.head_dim)
    for key, value in (says or {}).items():
        writer.add_key_value(f"{architecture}.{key}", value, gguf.GGUFValueType.get_type(value))
    for key, value in (keys or {}).items():
        writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    for name, value in (tensors or {}).items():
        writer.add_tensor(name, value.numpy())
    written = {}
    for name, value in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        stored = value.float().numpy()
        if architecture == "llama" and (".q_proj" in name or ".k_proj" in name):
            heads = config.num_attention_heads if ".q_proj" in name else config.num_key_value_heads
            stored = stored.reshape(heads, 2, -1, *stored.shape[1:]).swapaxes(1, 2).reshape(stored.shape)
        exact = (kinds or {}).get(name, kind) if stored.ndim == 2 else Q.F32
        packed = quantize(stored, exact)
        writer.add_tensor(gguf_name(name), packed, raw_dtype=None if exact in (Q.F32, Q.F16) else exact)
        back = gguf.dequantize(packed, exact).astype(np.float32)
        if architecture == "llama" and (".q_proj" in name or ".k_proj" in name):
            back = back.reshape(heads, -1, 2, *back.shape[1:]).swapaxes(1, 2).reshape(back.shape)
        written[name] = torch.from_numpy(back)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return written
