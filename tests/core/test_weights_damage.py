"""A damaged, foreign or unsupported model file is a user error of one line that names it."""

import json
import os
import pickle
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from gguf_files import Q, saved, write_gguf
from model_folders import build, reconfigure, refusal, rewrite
from torch import Tensor

from core.engine.cache import KVCache
from core.errors import UserError
from core.formats.weights_file import read_weights_file
from core.loading import description, weights
from core.loading.families import TITLES


@pytest.mark.parametrize("part", [0.0, 0.00001, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("kind", ["safetensors", "gguf"])
def test_a_file_cut_short_is_refused(kind: str, part: float, llama: Path) -> None:
    """At its first byte, in its table, in its weights."""
    path = llama / f"model.{kind}"
    if kind == "gguf":
        write_gguf(path, transformers.LlamaForCausalLM.from_pretrained(llama))
    os.truncate(path, int(part * path.stat().st_size))
    text = refusal(path if kind == "gguf" else llama)
    assert path.name in text
    assert "download it again" in text


@pytest.mark.parametrize("kind", ["safetensors", "gguf"])
def test_random_damage_to_a_table_gives_a_model_or_a_user_error(kind: str, llama: Path) -> None:
    """Bytes changed at random cause no other exception."""
    path = llama / f"model.{kind}"
    if kind == "gguf":
        write_gguf(path, transformers.LlamaForCausalLM.from_pretrained(llama))
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole[:40_000])
        for at in random.integers(0, 1500, 3):
            damaged[at] = random.integers(0, 256)
        path.write_bytes(damaged + whole[40_000:])
        try:
            description.describe(path if kind == "gguf" else llama)
        except UserError as error:
            assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>Please log in</html>", "web page"),
        (b"PK\x03\x04" + bytes(100), "pickle"),
        (pickle.dumps({"a": 1}), "pickle"),
        (b"GGUF" + bytes(100), "GGUF"),
        (bytes(4096), "empty"),
        (b"\xff" * 4096, "unknown format"),
        (struct.pack("<Q", 2) + b"{}", "have no tensor"),
        (struct.pack("<Q", 9) + b"{}", "cut short"),
        (struct.pack("<Q", 4) + b"{nul", "corrupt"),
        (struct.pack("<Q", 2) + b"{}" + b"left over", "belong to no tensor"),
    ],
)
def test_a_file_of_another_kind_is_named(content: bytes, says: str, llama: Path) -> None:
    """A pointer, a page, an archive, zeros, noise, another format."""
    (llama / "model.safetensors").write_bytes(content)
    assert says in refusal(llama)


def test_inconsistent_tensor_tables_are_refused(llama: Path) -> None:
    """Ranges that overlap, leave a gap or do not fit the shape; an unknown number format."""

    def table(**entries: tuple[str, list[int], list[int]]) -> str:
        keys = ("dtype", "shape", "data_offsets")
        header = json.dumps({name: dict(zip(keys, entry, strict=True)) for name, entry in entries.items()}).encode()
        (llama / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
        return refusal(llama)

    assert "overlap" in table(a=("F32", [2], [0, 8]), b=("F32", [2], [4, 12]))
    assert "gap" in table(a=("F32", [2], [0, 8]), b=("F32", [1], [12, 16]))
    assert "shape" in table(a=("F32", [3], [0, 8]))
    assert "C64" in table(a=("C64", [2], [0, 16]))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt"])
def test_pickles_are_refused_with_the_reason(name: str, llama: Path) -> None:
    """They are never opened, alone or in a folder that has nothing else."""
    (llama / "model.safetensors").unlink()
    (llama / name).write_bytes(b"never read")
    text = refusal(llama)
    assert name in text
    assert "any program" in text
    with pytest.raises(UserError, match="any program"):
        read_weights_file(llama / name)


def test_a_folder_without_weights_or_config_is_refused(llama: Path) -> None:
    """A model needs both."""
    (llama / "model.safetensors").unlink()
    assert ".safetensors" in refusal(llama)
    (llama / "config.json").unlink()
    assert "config.json" in refusal(llama)


def test_a_tensor_of_the_wrong_shape_is_named_with_both_shapes(llama: Path) -> None:
    """By its name in the file, although queries, keys and values are one matrix in our model."""
    key = "model.layers.1.self_attn.k_proj.weight"
    rewrite(llama, lambda tensors: tensors | {key: torch.zeros(64, 256)})
    text = refusal(llama)
    assert key.removeprefix("model.") in text
    assert "64 × 256" in text
    assert "128 × 256" in text


def test_a_config_that_disagrees_with_the_weights_is_refused(llama: Path) -> None:
    """More heads, more blocks, fewer blocks than the weights have."""
    reconfigure(llama, num_key_value_heads=8)
    assert "layers.0.self_attn.k_proj.weight is 128 × 256" in refusal(llama)
    reconfigure(llama, num_key_value_heads=4, num_hidden_layers=3)
    assert "have no tensor layers.2.input_layernorm.weight" in refusal(llama)
    reconfigure(llama, num_hidden_layers=1)
    assert "layers.1." in refusal(llama)
    reconfigure(llama, num_hidden_layers=2, attention_bias=True)
    assert "have no tensor layers.0.self_attn.q_proj.bias" in refusal(llama)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_non_finite_weights_are_named(bad: float, llama: Path) -> None:
    """One NaN or infinity among all weights."""
    key = "model.layers.1.mlp.up_proj.weight"

    def spoil(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        tensors[key][3, 5] = bad
        return tensors

    rewrite(llama, spoil)
    assert "layers.1.mlp.up_proj.weight" in refusal(llama)


def test_weights_too_large_for_fp16_are_named(llama: Path) -> None:
    """Finite in the file, infinite in fp16; the error advises bf16."""
    rewrite(llama, lambda tensors: tensors | {"model.norm.weight": torch.full((256,), 1e5)})
    build(llama, torch.bfloat16)
    with pytest.raises(UserError, match="bf16"):
        build(llama, torch.float16)


def test_a_non_finite_scale_of_a_quantized_block_is_named(tmp_path: Path) -> None:
    """An infinite scale in a Q8_0 block."""
    write_gguf(tmp_path / "m.gguf", saved(tmp_path), Q.Q8_0)
    stored = read_weights_file(tmp_path / "m.gguf").tensors["blk.0.ffn_up.weight"]
    data = bytearray((tmp_path / "m.gguf").read_bytes())
    data[stored.start : stored.start + 2] = np.float16(np.inf).tobytes()
    (tmp_path / "m.gguf").write_bytes(data)
    assert "blk.0.ffn_up.weight" in refusal(tmp_path / "m.gguf")
    described = description.describe(tmp_path / "m.gguf")
    model = weights.build_model(described, torch.device("cpu"), torch.float32, "stored")  # no weight is read here
    cache, ids = KVCache(model.config, 1, model.device, model.dtype), torch.ones(1, 3, dtype=torch.long)
    for compute in (lambda: model(ids), lambda: model.step(ids[:, :1], cache)):
        with torch.inference_mode(), pytest.raises(UserError, match=r"blk\.0\.ffn_up\.weight has non-finite weights"):
            compute()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"model_type": "mamba2"}, "mamba2"),
        ({"model_type": None}, "model_type is missing"),
        ({"hidden_size": "many"}, "hidden_size"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_hidden_layers": -1}, "num_hidden_layers"),
        ({"num_key_value_heads": 3}, "3 key heads"),
        ({"num_attention_heads": 0}, "num_attention_heads"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps"),
        ({"hidden_act": "mish"}, "mish"),
        ({"rope_parameters": {"rope_type": "spiral", "factor": 4.0}}, "spiral"),
        ({"rope_parameters": 7}, "rope_parameters"),
        ({"partial_rotary_factor": 1.5}, "partial_rotary_factor"),
        ({"quantization_config": {"quant_method": "gptq"}}, "gptq"),
    ],
)
def test_an_unsupported_or_impossible_config_is_refused(values: dict[str, Any], says: str, llama: Path) -> None:
    """An unsupported family is named with the supported ones, an unsupported value with its key."""
    reconfigure(llama, **values)
    text = refusal(llama)
    assert says in text
    if "model_type" in values:
        assert all(title in text for title in TITLES)


@pytest.mark.parametrize("content", ["", "{", "[]", "\udcff"])
def test_a_config_that_is_not_json_is_refused(content: str, llama: Path) -> None:
    """Empty, cut short, a list, not UTF-8."""
    (llama / "config.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert "config.json" in refusal(llama)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({"scale_attn_weights": False}, "scale_attn_weights"),
        ({"activation_function": "tanh"}, "tanh"),
    ],
)
def test_unsupported_gpt2_settings_are_refused(values: dict[str, Any], says: str, gpt2: Path, tmp_path: Path) -> None:
    """Settings that change the logits are not ignored."""
    folder = Path(shutil.copytree(gpt2, tmp_path / "gpt2"))
    reconfigure(folder, **values)
    assert says in refusal(folder)


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"rope.scaling.type": "spiral"}, "spiral"),
        ({"rope.dimension_count": 256}, "dimension_count"),
        ({"expert_count": 8}, "expert_used_count"),
    ],
)
def test_unsupported_gguf_settings_are_refused(extra: dict[str, Any], says: str, tmp_path: Path) -> None:
    """Unknown rope scaling, a rotation of more than a head, experts without a number of used ones."""
    write_gguf(tmp_path / "m.gguf", saved(tmp_path), says=extra)
    assert says in refusal(tmp_path / "m.gguf")


@pytest.mark.parametrize(("offset", "says"), [(0, "overlap"), (7, "unaligned"), (2**40, "beyond the end")])
def test_a_gguf_tensor_elsewhere_than_after_the_one_before_is_refused(offset: int, says: str, llama: Path) -> None:
    """Numbers of another tensor would be read."""
    path = llama / "m.gguf"
    write_gguf(path, transformers.LlamaForCausalLM.from_pretrained(llama))
    data = bytearray(path.read_bytes())
    name = b"blk.0.attn_k.weight"
    at = data.index(name) + len(name) + 4 + 2 * 8 + 4  # rank, shape, type
    assert struct.unpack_from("<Q", data, at)[0] not in (offset, 0), says
    struct.pack_into("<Q", data, at, offset)
    path.write_bytes(data)
    assert f"m.gguf: blk.0.attn_k.weight is at the offset {offset:,}, where " in refusal(path)
