"""GGUF files of families with other blocks, as llama.cpp's converter lays them out, have the logits of transformers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf_files import Q
from model_folders import CPU, build, refusal
from reference_models import ids, reference, wide

from core.engine.packed.linear import matrix
from core.loading import description, weights

Numbers = np.ndarray[Any, np.dtype[np.float32]]
ARCH = gguf.MODEL_ARCH


def groups_apart(numbers: Numbers, kv_heads: int, heads: int) -> Numbers:
    """All queries, all keys, all values, from groups of queries, a key and a value."""
    size = numbers.shape[0] // (heads + 2 * kv_heads)
    grouped = numbers.reshape(kv_heads, heads // kv_heads + 2, size, *numbers.shape[1:])
    parts = (grouped[:, :-2], grouped[:, -2:-1], grouped[:, -1:])
    return np.concatenate([part.reshape(-1, *numbers.shape[1:]) for part in parts])


def falcon_heads(config: Any) -> int:
    if config.new_decoder_architecture:
        return int(config.num_kv_heads)
    return 1 if config.multi_query else int(config.num_attention_heads)


def neox(config: Any) -> dict[str, Any]:
    return {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "rope.dimension_count": int(
            config.rope_parameters["partial_rotary_factor"] * config.hidden_size / config.num_attention_heads
        ),
        "rope.freq_base": float(config.rope_parameters["rope_theta"]),
        "attention.head_count": config.num_attention_heads,
        "use_parallel_residual": config.use_parallel_residual,
        "attention.layer_norm_epsilon": config.layer_norm_eps,
    }


def bloom(config: Any) -> dict[str, Any]:
    return {
        "context_length": 256,
        "embedding_length": config.hidden_size,
        "feed_forward_length": 4 * config.hidden_size,
        "block_count": config.n_layer,
        "attention.head_count": config.n_head,
        "attention.head_count_kv": config.n_head,
        "attention.layer_norm_epsilon": config.layer_norm_epsilon,
    }


def falcon(config: Any) -> dict[str, Any]:
    return {
        "context_length": 2048,
        "tensor_data_layout": "jploski",
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.ffn_hidden_size,
        "block_count": config.num_hidden_layers,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": falcon_heads(config),
        "attention.layer_norm_epsilon": config.layer_norm_epsilon,
    }


def phi2(config: Any) -> dict[str, Any]:
    return {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "block_count": config.num_hidden_layers,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_epsilon": config.layer_norm_eps,
        "rope.dimension_count": config.hidden_size // config.num_attention_heads // 2,
    }


def phi3(config: Any) -> dict[str, Any]:
    rope = config.rope_parameters
    scaling = {"rope.scaling.attn_factor": float(np.sqrt(1 + np.log(8) / np.log(512)))} if "long_factor" in rope else {}
    return scaling | {
        "context_length": config.max_position_embeddings,
        "rope.scaling.original_context_length": config.original_max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "block_count": config.num_hidden_layers,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.dimension_count": int(
            rope.get("partial_rotary_factor", 1.0) * config.hidden_size / config.num_attention_heads
        ),
        "rope.freq_base": float(rope["rope_theta"]),
        "attention.sliding_window": config.sliding_window or 0,
    }


CASES: dict[str, tuple[gguf.MODEL_ARCH, Callable[[Any], dict[str, Any]]]] = {
    "pythia": (ARCH.GPTNEOX, neox),
    "neox-sequential": (ARCH.GPTNEOX, neox),
    "bloom": (ARCH.BLOOM, bloom),
    "bloom-six-heads-untied": (ARCH.BLOOM, bloom),
    "falcon-7b": (ARCH.FALCON, falcon),
    "falcon-40b": (ARCH.FALCON, falcon),
    "falcon-11b": (ARCH.FALCON, falcon),
    "phi-2": (ARCH.PHI2, phi2),
    "phi-3": (ARCH.PHI3, phi3),
    "phi-3-window": (ARCH.PHI3, phi3),
    "phi-3-partial": (ARCH.PHI3, phi3),
}
"""The architecture and the settings, as the converter writes them; names of tensors come from gguf-py."""
CHANGES: dict[str, dict[str, Any]] = {
    "neox-sequential": {"use_parallel_residual": False, "rotary_pct": 0.5, "layer_norm_eps": 1e-3},
    "falcon-11b": {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}},
}


def model_of(case: str, **changes: Any) -> Any:
    base = "pythia" if case == "neox-sequential" else case
    return reference(base, **CHANGES.get(case, {}) | changes)


def write(path: Path, model: Any, case: str, kind: Q = Q.F32, *, fused: bool = False) -> Path:
    """Write the model as llama.cpp's converter does; `fused` joins separate queries, keys and values."""
    architecture, settings = CASES[case]
    config, name = model.config, gguf.MODEL_ARCH_NAMES[architecture]
    writer = gguf.GGUFWriter(path, name)
    for key, value in settings(config).items():
        writer.add_key_value(f"{name}.{key}", value, gguf.GGUFValueType.get_type(value))
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    tensors = {key: value.float().numpy() for key, value in model.state_dict().items()}
    if config.tie_word_embeddings:
        tensors = {key: value for key, value in tensors.items() if not key.startswith(("lm_head", "embed_out"))}
    if fused:
        tensors = joined(tensors)
    for key, numbers in tensors.items():
        if "query_key_value" in key:
            kv_heads = falcon_heads(config) if architecture is ARCH.FALCON else config.num_attention_heads
            numbers = groups_apart(numbers, kv_heads, config.num_attention_heads)  # noqa: PLW2901
        exact = kind if numbers.ndim > 1 else Q.F32
        known = key.removeprefix("transformer.") if architecture is ARCH.BLOOM else key
        stored = names.get_name(known, try_suffixes=(".weight", ".bias")) or key
        writer.add_tensor(stored, gguf.quantize(numbers, exact), raw_dtype=None if exact is Q.F32 else exact)
    for length in ("long", "short"):
        if numbers := (getattr(config, "rope_parameters", None) or {}).get(f"{length}_factor"):
            writer.add_tensor(f"rope_factors_{length}.weight", np.array(numbers, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def joined(tensors: dict[str, Numbers]) -> dict[str, Numbers]:
    """Queries, keys and values as one tensor, as in older files of Phi-2."""
    found: dict[str, Numbers] = {}
    for key, numbers in tensors.items():
        if ".q_proj." in key:
            parts = [tensors[key.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            block, field = key.split(".")[2], key.rpartition(".")[2]
            found[f"blk.{block}.attn_qkv.{field}"] = np.concatenate(parts)
        elif ".k_proj." not in key and ".v_proj." not in key:
            found[key] = numbers
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_gguf_file_has_the_logits_of_transformers(case: str, tmp_path: Path) -> None:
    """In float32, at every position."""
    model = model_of(case)
    ours = build(write(tmp_path / "model.gguf", model, case))
    with torch.inference_mode():
        assert (model(ids()).logits - ours(ids())).abs().max() < 1e-4


def test_older_files_of_phi_2_have_one_tensor_of_queries_keys_and_values(tmp_path: Path) -> None:
    model = model_of("phi-2")
    ours = build(write(tmp_path / "model.gguf", model, "phi-2", fused=True))
    with torch.inference_mode():
        assert (model(ids()).logits - ours(ids())).abs().max() < 1e-4


@pytest.mark.parametrize("case", ["pythia", "falcon-40b", "bloom", "phi-3"])
def test_quantized_files_are_read_as_gguf_unpacks_them(case: str, tmp_path: Path) -> None:
    """Q4_0 matrices in float32 and packed in 4 bits stand for the same numbers."""
    path = write(tmp_path / "model.gguf", model_of(case, **wide(case)), case, Q.Q4_0)
    described = description.describe(path)
    whole = weights.build_model(described, CPU, torch.float32)
    packed = weights.build_model(described, CPU, torch.float32, "int4")
    for block, other in zip(whole.blocks, packed.blocks, strict=True):
        for name in ("attention.qkv", "feed_forward.up"):
            ours, theirs = block.get_submodule(name).weight, matrix(other.get_submodule(name))
            assert (ours - theirs).abs().max() < 0.01 * ours.abs().max()


@pytest.mark.parametrize(
    ("architecture", "says"),
    [
        ("gptj", "GPT-J is not supported in GGUF"),
        ("opt", "OPT is not supported in GGUF"),
        *((name, repr(name)) for name in ("mamba", "rwkv7", "deepseek2", "t5", "gpt_neox")),
    ],
)
def test_an_architecture_that_is_not_there_is_refused_by_name(architecture: str, says: str, tmp_path: Path) -> None:
    """Families that llama.cpp does not have, state spaces, latent attention, encoders."""
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", architecture)
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert says in refusal(tmp_path / "m.gguf")
