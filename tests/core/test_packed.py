"""Weights in int8 and int4: without rounding where the file has them, the nearest values otherwise, and the error."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from gguf_files import saved, write_gguf
from reference_models import CASES, ids, reference, wide
from texts import TEXTS
from torch import Tensor

from core.engine import device
from core.engine.experts import Router
from core.engine.packed import compiled
from core.engine.packed.linear import Int4Linear, Int8Embedding, Int8Linear, matrix
from core.engine.packed.quantize import (
    dequantize_int4,
    int4,
    int8,
    pack_int4,
    pack_scales,
    padded_rows,
    unpack_int4,
    unpack_q4,
    unpack_q8,
    unpack_scales,
    with_padding,
)
from core.errors import UserError
from core.loading import description, models, weights
from core.loading.choice import ModelChoice

SIZES = [(48, 96), (83, 40), (1, 1), (7, 172), (100, 33)]
"""[rows, columns]."""


def random(rows: int = 48, columns: int = 96) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))


def close(result: Tensor, expected: Tensor) -> bool:
    """Within the precision of bfloat16."""
    return bool((result.float() - expected).abs().max() < 0.02 * expected.abs().max())


# Linear maps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_torch", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("biased", [False, True])
def test_a_packed_map_equals_the_product_with_its_matrix(
    count: int, biased: bool, size: tuple[int, int], by_torch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For one state and for several, with a bias and without, of any size, by compiled code and by torch."""
    if by_torch:
        monkeypatch.setattr(compiled, "problem", lambda: "no compiler available")
    rows, columns = size
    x = torch.randn(2, count, columns, generator=torch.Generator().manual_seed(1)).bfloat16()
    bias = torch.arange(rows).bfloat16() if biased else None
    added = 0 if bias is None else bias.float()
    quantized, scales = int8(random(*size))
    expected = x.float() @ (quantized * scales.float()[:, None]).T + added
    assert close(Int8Linear(quantized, scales, bias)(x), expected)
    four = int4(random(*size))
    expected = x.float() @ dequantize_int4(*four).T + added
    assert close(Int4Linear(*four, bias)(x), expected)


@pytest.mark.parametrize("size", SIZES)
def test_the_matrix_of_a_module_is_the_dequantized_one(size: tuple[int, int]) -> None:
    """Exactly, also of some rows."""
    quantized, scales = int8(random(*size))
    expected = quantized * scales.float()[:, None]
    for module in (Int8Linear(quantized, scales), Int8Embedding(quantized, scales)):
        assert torch.equal(matrix(module), expected)
        assert torch.equal(matrix(module, 3, 50), expected[3:50])
        assert module.shape == size
    q, scales, zero_points = int4(random(*size))
    expected = dequantize_int4(q, scales.bfloat16(), zero_points.bfloat16())
    module = Int4Linear(q, scales, zero_points)
    assert module.shape == size
    for first, last in ((0, None), (0, 5), (3, 7), (31, 33), (32, 64), (40, 1000)):
        assert torch.equal(matrix(module, first, last), expected[first:last])


# Quantization --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [96, 40])
def test_quantized_weights_are_the_nearest(columns: int) -> None:
    """No weight is more than half a step off (and bfloat16's rounding of the scale), and a row of zeros stays one."""
    weight = random(columns=columns)
    weight[3] = 0
    quantized, scales = int8(weight)
    assert ((quantized * scales.float()[:, None] - weight).abs() <= scales.float()[:, None] * 0.51).all()
    q, steps, zero_points = int4(weight)
    error = (dequantize_int4(q, steps, zero_points) - weight).abs()
    assert (error <= steps.repeat_interleave(32, 1)[:, :columns] * 0.6).all()
    embedding = Int8Embedding(quantized, scales)
    assert not embedding(torch.tensor([[3]])).any()
    assert close(embedding(torch.arange(48)[None]), weight[None])


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1"])
def test_q4_tensors_of_a_gguf_file_are_not_rounded(kind: str) -> None:
    """Weights, scales and zero points stand for the numbers that the gguf package unpacks."""
    packed = gguf.quantize(random().numpy(), gguf.GGMLQuantizationType[kind])
    unpacked = unpack_q4(torch.from_numpy(packed), with_minimum=kind == "Q4_1")
    expected = torch.from_numpy(gguf.dequantize(packed, gguf.GGMLQuantizationType[kind]))
    assert (dequantize_int4(*unpacked) - expected).abs().max() < 1e-6


def test_q8_tensors_of_a_gguf_file_are_not_rounded() -> None:
    """They are the numbers that the gguf package unpacks."""
    packed = gguf.quantize(random().numpy(), gguf.GGMLQuantizationType.Q8_0)
    expected = torch.from_numpy(gguf.dequantize(packed, gguf.GGMLQuantizationType.Q8_0))
    assert torch.equal(unpack_q8(torch.from_numpy(packed)), expected)


# Memory --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_int4_is_packed_as_documented(size: tuple[int, int]) -> None:
    """Each weight is at its place, and unpacking is the reverse."""
    rows, columns = size
    quantized = torch.randint(0, 16, size, dtype=torch.uint8)
    packed = pack_int4(quantized)
    assert packed.shape == (-(-rows // 32), 8 * -(-columns // 32), 2, 8, 4)
    assert torch.equal(unpack_int4(packed)[:rows, :columns], quantized)
    assert unpack_int4(packed).sum() == quantized.sum()  # the padding is zero
    for row, column in {(0, 0), (rows // 2, columns // 3), (rows - 1, columns - 1)}:
        inside = row % 32
        byte = packed[row // 32, column // 4, inside // 16, inside % 8, column % 4]
        assert (byte >> 4 if inside % 16 >= 8 else byte & 15) == quantized[row, column]
    scales, zero_points = random(rows, 3), random(rows, 3) + 1
    pairs = unpack_scales(pack_scales(scales, zero_points))[:rows]
    assert torch.equal(pairs, torch.stack((scales, zero_points), -1).bfloat16())


def test_int8_rows_are_padded_only_where_they_must_be() -> None:
    """A matrix whose rows are multiples of 32 bytes is used as it is; others begin at such multiples."""
    whole, narrow = torch.ones(5, 64, dtype=torch.int8), torch.ones(5, 40, dtype=torch.int8)
    assert padded_rows(whole) is whole
    padded = padded_rows(narrow)
    assert torch.equal(padded, narrow)
    assert padded_rows(padded) is padded
    assert with_padding(padded).shape == (5, 64)
    assert with_padding(padded).sum() == narrow.sum()


# Models --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("case", CASES)
def test_every_family_can_be_packed(case: str, bits: int, tmp_path: Path) -> None:
    """Each packed map stands for the matrix and bias of the whole model, within a quantization step."""
    reference(case, **wide(case)).save_pretrained(tmp_path)
    described = description.describe(tmp_path)
    whole = weights.build_model(described, torch.device("cpu"), torch.float32)
    packed = weights.build_model(described, torch.device("cpu"), torch.float32, bits)
    assert packed.dtype is torch.float32
    down = next(module for name, module in packed.blocks[0].named_modules() if name.endswith("down"))
    assert isinstance(down, Int4Linear if bits == 4 else Int8Linear)
    for name, module in whole.named_modules():
        if isinstance(module, Router):
            assert torch.equal(packed.get_submodule(name).weight, module.weight)
        elif isinstance(module, torch.nn.Linear):
            map_, weight = packed.get_submodule(name), module.weight
            bias = map_(torch.zeros(1, weight.shape[1]))
            columns = map_(torch.eye(weight.shape[1])) - bias  # the transposed matrix
            assert (columns.T - weight).abs().max() < 0.1 * weight.abs().max()
            assert close(bias[0], torch.zeros(len(weight)) if module.bias is None else module.bias) or not bias.any()
    all_ids = torch.arange(83)[None]
    assert (packed.embed(all_ids) - whole.embed(all_ids)).abs().max() < 0.01 * whole.embed.weight.abs().max()


@pytest.mark.parametrize(("bits", "most"), [(8, 0.01), (4, 0.3)])
@pytest.mark.parametrize(
    "case",
    ["gemma2", "gemma3", "olmo3", "smollm3", "granite", "mixtral", "qwen2-moe", "qwen3-moe"],
)
def test_packed_families_that_the_kernels_do_not_know(case: str, bits: int, most: float, tmp_path: Path) -> None:
    """Computed by the modules: KL divergence from transformers in nats."""
    model = reference(case)
    model.save_pretrained(tmp_path)
    ours = weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32, bits)
    with torch.inference_mode():
        expected, result = model(ids()).logits.log_softmax(-1), ours(ids()).float().log_softmax(-1)
    assert (expected.exp() * (expected - result)).sum(-1).mean() < most


@pytest.mark.parametrize("bits", [8, 4])
def test_a_model_of_any_width_is_packed(bits: int, tmp_path: Path) -> None:
    """40 is no multiple of a group; the tied unembedding shares the embedding's memory."""
    model = reference("qwen2-tied")  # 40 wide
    model.save_pretrained(tmp_path)
    ours = weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32, bits)
    assert isinstance(ours.blocks[0].feed_forward.up, Int4Linear if bits == 4 else Int8Linear)
    assert ours.unembed.quantized.data_ptr() == ours.embed.quantized.data_ptr()
    with torch.inference_mode():
        expected, result = model(ids()).logits.log_softmax(-1), ours(ids()).float().log_softmax(-1)
    assert (expected.exp() * (expected - result)).sum(-1).mean() < 0.2


@torch.inference_mode()
@pytest.mark.parametrize(("bits", "limit"), [(8, 0.005), (4, 0.3)])
@pytest.mark.parametrize(
    "case", ["opt", "opt-norms-after", "bloom", "pythia", "gptj", "falcon-40b", "falcon-rw", "phi-2", "phi-3-partial"]
)
def test_packed_families_have_nearly_the_distribution_of_transformers(
    case: str, bits: int, limit: float, tmp_path: Path
) -> None:
    """KL divergence from float32, in nats. Llama, which is compiled, has 0.0038 and 0.26 at this size."""
    model = reference(case, **wide(case))
    model.save_pretrained(tmp_path)
    ours = weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32, bits)
    expected, result = model(ids()).logits.log_softmax(-1), ours(ids()).float().log_softmax(-1)
    assert (expected.exp() * (expected - result)).sum(-1).mean() < limit


def test_a_q4_file_is_loaded_without_rounding(tmp_path: Path) -> None:
    """Llama's queries and keys are reordered without unpacking them to floats and back."""
    values: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 64, "vocab_size": 83}
    model = saved(tmp_path, **values)
    model.load_state_dict(write_gguf(tmp_path / "m.gguf", model, gguf.GGMLQuantizationType.Q4_1), strict=False)
    ours = weights.build_model(description.describe(tmp_path / "m.gguf"), torch.device("cpu"), torch.float32, 4)
    assert isinstance(ours.blocks[0].attention.qkv, Int4Linear)
    with torch.inference_mode():
        expected, result = model(ids()).logits.log_softmax(-1), ours(ids()).float().log_softmax(-1)
    assert (expected.exp() * (expected - result)).sum(-1).mean() < 1e-3


@torch.inference_mode()
def test_quantized_smollm2_is_close_to_float32(smollm2: Callable[[str], models.Model]) -> None:
    """KL divergence from float32 over all positions of a few texts, in nats."""
    whole = smollm2("fp32")
    prompts = [torch.tensor([whole.tokenizer.encode(text)]) for text in TEXTS]
    expected = torch.cat([whole.transformer(prompt)[0] for prompt in prompts]).log_softmax(-1)
    for dtype, limit in (("int4", 0.002), ("int8", 0.007)):
        packed = smollm2(dtype)
        assert (packed.info.dtype, packed.info.parameters) == (dtype, 134_515_008)
        result = torch.cat([packed.transformer(prompt)[0] for prompt in prompts]).float().log_softmax(-1)
        assert (expected.exp() * (expected - result)).sum(-1).mean() < limit


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_where_weights_cannot_be_packed(dtype: str) -> None:
    """On a GPU, which has other kernels, and in the rungs of the ladder, which are trained in float32."""
    with pytest.raises(UserError, match="bf16"):
        device.dtype(dtype, torch.device("cuda:0"))
    with pytest.raises(UserError, match="model1"):
        models.load_model(ModelChoice(name="model1", dtype=dtype, device="cpu", tokenizer="bytes"))
