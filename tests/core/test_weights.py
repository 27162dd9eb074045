"""From files to a model: formats, layouts, what is mapped and what is copied, one line for each broken file."""

import hashlib
import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from gguf_files import Q, saved, write_gguf
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.engine.model import Transformer
from core.errors import UserError
from core.formats.weights_file import read_weights_file
from core.loading import description, weights
from core.loading.families import TITLES
from core.loading.families.gpt2 import GGUF_NAMES

CPU = torch.device("cpu")


def build(path: Path, dtype: torch.dtype = torch.float32) -> Transformer:
    return weights.build_model(description.describe(path), CPU, dtype)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        build(path)
    text = str(caught.value)
    assert text
    assert len(text.splitlines()) == 1
    return text


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    saved(folder)
    return folder


@pytest.fixture
def llama(original: Path, tmp_path: Path) -> Path:
    """A model folder that a test may break."""
    return Path(shutil.copytree(original, tmp_path / "llama"))


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpt2")
    config = transformers.GPT2Config(vocab_size=61, n_embd=24, n_layer=2, n_head=3, n_positions=16)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def equal(one: Transformer, other: Transformer) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    path = folder / "model.safetensors"
    save_file(change({name: value.contiguous() for name, value in load_file(path).items()}), path)


def reconfigure(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# Layouts ------------------------------------------------------------------------------------------------------------


def test_sharded_weights_are_one_model(original: Path, llama: Path) -> None:
    """Weights in several files with an index."""
    tensors = load_file(llama / "model.safetensors")
    (llama / "model.safetensors").unlink()
    halves = {"model-00001-of-00002.safetensors": {}, "model-00002-of-00002.safetensors": {}}
    for number, (name, value) in enumerate(tensors.items()):
        halves[f"model-0000{1 + number % 2}-of-00002.safetensors"][name] = value
    for place, half in halves.items():
        save_file(half, llama / place)
    index = {"weight_map": {name: place for place, half in halves.items() for name in half}}
    (llama / "model.safetensors.index.json").write_text(json.dumps(index))
    assert equal(build(llama), build(original))
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
    """Weights in the file's number format are views of the mapped file, also GPT-2's transposed matrices.

    Two kinds are copied to a faster layout: linear maps to fewer outputs, and the unembedding.
    """
    described = description.describe(gpt2)
    start = torch.frombuffer(described.tensors["wte.weight"].view, dtype=torch.uint8).data_ptr()
    end = start + (gpt2 / "model.safetensors").stat().st_size
    model = weights.build_model(described, CPU, torch.float32)
    for name, parameter in model.named_parameters():
        turned = name.endswith("down.weight") or name == "embed.weight"
        assert (start <= parameter.data_ptr() < end) is not turned
        if parameter.ndim == 2 and name != "position.weight":
            assert parameter.stride(0 if parameter.shape[0] >= parameter.shape[1] else 1) == 1
    assert not any(parameter.requires_grad for parameter in model.parameters())


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


# GGUF ---------------------------------------------------------------------------------------------------------------


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
    assert torch.equal(weights.load_weights("x", stored), torch.from_numpy(gguf.dequantize(raw, Q[kind])))


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


def test_rope_scaling_is_read_from_gguf(tmp_path: Path) -> None:
    """Llama 3.1's divisors are a tensor; a linear factor is a number."""
    model = saved(tmp_path)
    write_gguf(tmp_path / "l.gguf", model, says={"rope.scaling.type": "linear", "rope.scaling.factor": 4.0})
    assert description.describe(tmp_path / "l.gguf").config.rope_divisors == (4.0,) * 16
    write_gguf(tmp_path / "f.gguf", model, freqs=torch.arange(1.0, 17.0))
    assert build(tmp_path / "f.gguf").config.rope_divisors == tuple(range(1, 17))


# Bad input ----------------------------------------------------------------------------------------------------------


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
        (struct.pack("<Q", 2) + b"{}", "lack"),
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
    assert "lack layers.2.input_layernorm.weight" in refusal(llama)
    reconfigure(llama, num_hidden_layers=1)
    assert "layers.1." in refusal(llama)
    reconfigure(llama, num_hidden_layers=2, attention_bias=True)
    assert "lack layers.0.self_attn.q_proj.bias" in refusal(llama)


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


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"model_type": "gemma2"}, "gemma2"),
        ({"model_type": None}, "model_type is missing"),
        ({"hidden_size": "many"}, "hidden_size"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_hidden_layers": -1}, "num_hidden_layers"),
        ({"num_key_value_heads": 3}, "3 key heads"),
        ({"num_attention_heads": 0}, "num_attention_heads"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps"),
        ({"hidden_act": "mish"}, "mish"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "yarn"),
        ({"rope_parameters": 7}, "rope_parameters"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
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
        ({"rope.scaling.type": "yarn"}, "yarn"),
        ({"rope.dimension_count": 8}, "dimension_count"),
        ({"expert_count": 8}, "expert_count"),
    ],
)
def test_unsupported_gguf_settings_are_refused(extra: dict[str, Any], says: str, tmp_path: Path) -> None:
    """Unsupported rope scaling, partial rotation, mixtures of experts."""
    write_gguf(tmp_path / "m.gguf", saved(tmp_path), says=extra)
    assert says in refusal(tmp_path / "m.gguf")
