"""From files to a model: sharded, tied, mapped and read-only weights, and GGUF files."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf_files import Q, saved, write_gguf
from model_folders import CPU, build, equal, refusal, rewrite
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.engine.model import Transformer
from core.formats.weights_file import read_weights_file
from core.loading import description, weights
from core.loading.families.gpt2 import GGUF_NAMES
from core.loading.weights import reading

# Layouts --------------------------------------------------------------------------------------------------------------


def test_sharded_weights_are_one_model(llama_folder: Path, llama: Path) -> None:
    """Weights in several files with an index."""
    tensors = load_file(llama / "model.safetensors")
    (llama / "model.safetensors").unlink()
    halves = {"model-00001-of-00002.safetensors": {}, "model-00002-of-00002.safetensors": {}}
    for number, (name, value) in enumerate(tensors.items()):
        halves[f"model-0000{1 + number % 2}-of-00002.safetensors"][name] = value
    for file, half in halves.items():
        save_file(half, llama / file)
    index = {"weight_map": {name: file for file, half in halves.items() for name in half}}
    (llama / "model.safetensors.index.json").write_text(json.dumps(index))
    assert equal(build(llama), build(llama_folder))
    (llama / "model-00002-of-00002.safetensors").unlink()
    text = refusal(llama)
    assert "model-00002-of-00002.safetensors" in text
    assert "1 of 2" in text


def test_gpt2_names_without_prefix_and_mask_buffers_are_read(gpt2: Path, tmp_path: Path) -> None:
    """Names without the prefix `transformer.`, and mask buffers, give the same model as names with it."""
    folder = Path(shutil.copytree(gpt2, tmp_path / "bare"))
    masks = {f"h.{n}.attn.{name}": torch.ones(1, 1, 16, 16) for n in range(2) for name in ("bias", "masked_bias")}
    rewrite(folder, lambda tensors: {name.removeprefix("transformer."): t for name, t in tensors.items()} | masks)
    assert equal(build(folder), build(gpt2))


def test_a_tied_unembedding_that_is_stored_too_is_not_read_twice(tmp_path: Path) -> None:
    """One matrix, counted once."""
    saved(tmp_path, tie_word_embeddings=True)
    rewrite(tmp_path, lambda tensors: tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()})
    model = build(tmp_path)
    assert model.unembed.weight is model.embed.weight


def test_weights_that_need_no_conversion_stay_mapped(gpt2: Path) -> None:
    """Weights in the file's number format are views of the mapped file, also GPT-2's transposed matrices."""
    described = description.describe(gpt2)
    start = torch.frombuffer(described.tensors["wte.weight"].view, dtype=torch.uint8).data_ptr()
    end = start + (gpt2 / "model.safetensors").stat().st_size
    model = weights.build_model(described, CPU, torch.float32)
    assert all(start <= parameter.data_ptr() < end for parameter in model.parameters())
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_converted_weights_equal_a_conversion_by_torch(dtype: torch.dtype, tmp_path: Path) -> None:
    """More rows than are converted at once, parts of one parameter one after the other, vectors, both layouts."""
    saved(tmp_path, vocab_size=2500, attention_bias=True)
    rewrite(tmp_path, lambda tensors: {name: torch.randn(each.shape).bfloat16() for name, each in tensors.items()})
    stored, model = load_file(tmp_path / "model.safetensors"), build(tmp_path, dtype)
    assert torch.equal(model.embed.weight, stored["model.embed_tokens.weight"].to(dtype))
    assert torch.equal(model.unembed.weight, stored["lm_head.weight"].to(dtype))
    for field in ("weight", "bias"):
        parts = [stored[f"model.layers.1.self_attn.{part}_proj.{field}"] for part in "qkv"]
        assert torch.equal(model.blocks[1].attention.qkv.get_parameter(field), torch.cat(parts).to(dtype))
    assert torch.equal(model.norm.weight, stored["model.norm.weight"].to(dtype))


def test_files_are_not_changed_by_loading_or_by_writing_to_the_weights(llama: Path) -> None:
    """The mapping is copy-on-write."""
    before = {path.name: hashlib.sha256(path.read_bytes()).digest() for path in llama.iterdir()}
    model = build(llama)
    for parameter in model.parameters():
        parameter.zero_()
    assert {path.name: hashlib.sha256(path.read_bytes()).digest() for path in llama.iterdir()} == before
    assert any(parameter.any() for parameter in build(llama).parameters())


def test_read_only_files_can_be_loaded(llama: Path) -> None:
    """As in a shared cache."""
    for path in llama.iterdir():
        path.chmod(0o444)
    build(llama)


# GGUF -----------------------------------------------------------------------------------------------------------------


def same_logits(model: Any, numbers: dict[str, Tensor], ours: Transformer) -> None:
    model.load_state_dict(numbers, strict=False)
    ids = torch.arange(24).remainder(61).view(2, 12)
    with torch.inference_mode():
        assert (model(ids).logits - ours(ids)).abs().max() < 1e-4


@pytest.mark.parametrize("kind", [Q.F32, Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0])
def test_a_gguf_model_has_the_logits_of_transformers(kind: Q, tmp_path: Path) -> None:
    """Plain and quantized formats. GGUF stores Llama's queries and keys pair by pair; they are reordered."""
    model = saved(tmp_path)
    numbers = write_gguf(tmp_path / "model.gguf", model, kind)
    same_logits(model, numbers, build(tmp_path / "model.gguf"))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Qwen2", {}),
        ("Qwen2", {"tie_word_embeddings": True}),
        ("Qwen3", {"head_dim": 16}),
        ("Llama", {"attention_bias": True, "head_dim": 12}),
    ],
)
def test_gguf_files_of_other_families_have_the_logits_of_transformers(
    name: str, values: dict[str, Any], tmp_path: Path
) -> None:
    """Biases, query and key norms, a tied unembedding, a head size other than d / heads."""
    model = saved(tmp_path, name, **values)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    numbers = write_gguf(tmp_path / "model.gguf", model)
    same_logits(model, numbers, build(tmp_path / "model.gguf"))


@pytest.mark.parametrize("kind", ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"])
def test_k_quants_unpack_as_in_the_gguf_package(kind: str, tmp_path: Path) -> None:
    """Blocks of random bytes (scales made finite) unpack as the package unpacks them."""
    block, size = gguf.GGML_QUANT_SIZES[Q[kind]]
    raw = np.random.default_rng(0).integers(0, 60, (4, 2 * size), dtype=np.uint8)  # no half above 60·256 is infinite
    writer = gguf.GGUFWriter(tmp_path / "k.gguf", "llama")
    writer.add_tensor("x", raw, raw_dtype=Q[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    stored = read_weights_file(tmp_path / "k.gguf").tensors["x"]
    assert (stored.dtype, stored.shape) == (kind, (4, 2 * block))
    assert torch.equal(reading.read_tensor("x", stored), torch.from_numpy(gguf.dequantize(raw, Q[kind])))


def test_a_gguf_file_of_gpt2_is_the_same_model(gpt2: Path, tmp_path: Path) -> None:
    """GGUF stores GPT-2's matrices as [out, in]."""
    path, model = tmp_path / "gpt2.gguf", build(gpt2)
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_context_length(16)
    writer.add_embedding_length(24)
    writer.add_block_count(2)
    writer.add_feed_forward_length(96)
    writer.add_head_count(3)
    writer.add_layer_norm_eps(1e-5)
    names = {ours: theirs[0] for ours, theirs in GGUF_NAMES.items()}
    for name, value in model.named_parameters():
        module, _, field = name.rpartition(".")
        block = module.split(".")[1] if module.startswith("blocks.") else ""
        theirs = names[module.replace(f"blocks.{block}.", "blocks.#.")].replace("#", block)
        writer.add_tensor(f"{theirs}.{field}", value.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert equal(build(path), model)
