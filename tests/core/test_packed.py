"""Packed weights: GGUF's blocks as they are, or int8 and int4 made from floats, and how far off they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from gguf_blocks import numbers
from gguf_files import saved, write_gguf
from reference_models import CASES, ids, reference, wide
from texts import TEXTS
from torch import Tensor

from core.engine.cache import KVCache
from core.engine.experts import Router
from core.engine.packed import compiled
from core.engine.packed.compiled import Matrix
from core.engine.packed.linear import PackedEmbedding, PackedLinear, matrix
from core.engine.packed.quantize import q4_1, q8_0
from core.errors import UserError
from core.loading import description, models, weights
from core.loading.choice import ModelChoice

SIZES = [(48, 96), (83, 40), (1, 1), (7, 172), (100, 33)]
"""[rows, columns]."""
FORMATS = {"Q8_0": q8_0, "Q4_1": q4_1}


def random(rows: int = 48, columns: int = 96) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))


def close(result: Tensor, expected: Tensor) -> bool:
    """Within the precision of bfloat16."""
    return bool((result.float() - expected).abs().max() < 0.02 * expected.abs().max())


# Modules -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_torch", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("biased", [False, True])
def test_a_packed_map_equals_the_product_with_its_matrix(
    biased: bool, format: str, size: tuple[int, int], by_torch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For one state and for several, with a bias and without, of any size, by compiled code and by torch."""
    if by_torch:
        monkeypatch.setattr(compiled, "problem", lambda: "no compiler available")
    rows, columns = size
    bias = torch.arange(rows).bfloat16() if biased else None
    packed = Matrix(format, size, FORMATS[format](random(*size)))
    linear = PackedLinear([packed], bias)
    for count in (1, 7):
        x = torch.randn(2, count, columns, generator=torch.Generator().manual_seed(1)).bfloat16()
        expected = x.float() @ packed.dequantize().T + (0 if bias is None else bias.float())
        assert close(linear(x), expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("format", FORMATS)
def test_the_matrix_of_a_module_is_the_dequantized_one(format: str, size: tuple[int, int]) -> None:
    """Exactly, also of some rows, and of rows by their ids."""
    packed = Matrix(format, size, FORMATS[format](random(*size)))
    expected = numbers(format, packed.weights).float()[:, : size[1]]
    two = PackedLinear([packed, packed])
    assert two.shape == (2 * size[0], size[1])
    assert torch.equal(matrix(two), torch.cat((expected, expected)))
    assert torch.equal(matrix(two, size[0] - 1, size[0] + 1), expected[[-1, 0]])
    for first, last in ((0, None), (0, 5), (3, 7), (40, 1000)):
        assert torch.equal(matrix(PackedEmbedding([packed]), first, last), expected[first:last])
    some = torch.tensor([[0, size[0] - 1]])
    assert torch.equal(PackedEmbedding([packed])(some), expected[some])


# Quantization --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [96, 40])
def test_quantized_weights_are_the_nearest(columns: int) -> None:
    """No weight in 8 bits is more than half a step off (and the scale's rounding); a row of zeros stays one."""
    weight = random(columns=columns)
    weight[3] = 0
    padded = torch.nn.functional.pad(weight, (0, -columns % 32)).unflatten(1, (-1, 32))
    found = {format: numbers(format, quantize(weight)) for format, quantize in FORMATS.items()}
    error = (found["Q8_0"][:, :columns] - weight).abs()
    steps = (padded.abs().amax(-1) / 127).repeat_interleave(32, 1)[:, :columns]
    assert (error <= 0.57 * steps).all()  # 127 half units in the last place of the scale more
    assert not found["Q8_0"][3].any()
    assert not found["Q4_1"][3].any()


def test_quantized_weights_are_at_least_as_near_as_those_of_the_gguf_package() -> None:
    """By mean square; the package takes the first scale and minimum, and divides by it before it is rounded."""
    weight = random()
    for format, quantize in FORMATS.items():
        expected = torch.from_numpy(gguf.quantize(weight.numpy(), gguf.GGMLQuantizationType[format]))
        assert expected.shape == quantize(weight).shape
        off = (numbers(format, quantize(weight)) - weight).square().mean()
        assert off <= (numbers(format, expected) - weight).square().mean()


# Models --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", ["int8", "int4"])
@pytest.mark.parametrize("case", CASES)
def test_every_family_can_be_packed(case: str, packing: str, family_folder: Callable[[str], Path]) -> None:
    """Each packed map stands for the matrix and bias of the whole model, within a quantization step."""
    described = description.describe(family_folder(case))
    whole = weights.build_model(described, torch.device("cpu"), torch.float32)
    packed = weights.build_model(described, torch.device("cpu"), torch.float32, packing)
    assert packed.dtype is torch.float32
    down: Any = next(module for name, module in packed.blocks[0].named_modules() if name.endswith("down"))
    assert down.parts[0].format == {"int8": "Q8_0", "int4": "Q4_1"}[packing]
    assert packed.embed.parts[0].format == "Q8_0"
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


@pytest.mark.parametrize(("packing", "most"), [("int8", 0.01), ("int4", 0.3)])
@pytest.mark.parametrize(
    "case",
    ["gemma2", "gemma3", "olmo3", "smollm3", "granite", "mixtral", "qwen2-moe", "qwen3-moe"],
)
def test_packed_families_that_the_kernels_do_not_know(case: str, packing: str, most: float, tmp_path: Path) -> None:
    """Computed by the modules: KL divergence from transformers in nats."""
    model = reference(case)
    model.save_pretrained(tmp_path)
    ours = weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32, packing)
    with torch.inference_mode():
        expected, result = model(ids()).logits.log_softmax(-1), ours(ids()).float().log_softmax(-1)
    assert (expected.exp() * (expected - result)).sum(-1).mean() < most


@pytest.mark.parametrize("packing", ["int8", "int4"])
def test_a_model_of_any_width_is_packed(packing: str, tmp_path: Path) -> None:
    """40 is no multiple of a group; the tied unembedding shares the embedding's memory."""
    model = reference("qwen2-tied")  # 40 wide
    model.save_pretrained(tmp_path)
    ours = weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32, packing)
    assert ours.unembed.parts is ours.embed.parts
    with torch.inference_mode():
        expected, result = model(ids()).logits.log_softmax(-1), ours(ids()).float().log_softmax(-1)
    assert (expected.exp() * (expected - result)).sum(-1).mean() < 0.2


def test_weights_too_large_for_blocks_are_named(tmp_path: Path) -> None:
    """Their scales are float16."""
    model = reference("llama")
    model.model.layers[1].mlp.up_proj.weight.data[3, 4] = 1e10
    model.save_pretrained(tmp_path)
    for packing in ("int8", "int4"):
        with pytest.raises(UserError, match=rf"layers.1.mlp.up_proj.weight has weights too large for {packing}"):
            weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32, packing)


@torch.inference_mode()
@pytest.mark.parametrize(("packing", "limit"), [("int8", 0.005), ("int4", 0.3)])
@pytest.mark.parametrize(
    "case", ["opt", "opt-norms-after", "bloom", "pythia", "gptj", "falcon-40b", "falcon-rw", "phi-2", "phi-3-partial"]
)
def test_packed_families_have_nearly_the_distribution_of_transformers(
    case: str, packing: str, limit: float, tmp_path: Path
) -> None:
    """KL divergence from float32, in nats. Llama, which is compiled, has 0.0038 and 0.26 at this size."""
    model = reference(case, **wide(case))
    model.save_pretrained(tmp_path)
    ours = weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32, packing)
    expected, result = model(ids()).logits.log_softmax(-1), ours(ids()).float().log_softmax(-1)
    assert (expected.exp() * (expected - result)).sum(-1).mean() < limit


def test_int4_takes_the_4_bit_blocks_of_a_file_as_they_are(tmp_path: Path) -> None:
    values: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 64, "vocab_size": 83}
    model = saved(tmp_path, **values)
    model.load_state_dict(write_gguf(tmp_path / "m.gguf", model, gguf.GGMLQuantizationType.Q4_0), strict=False)
    ours = weights.build_model(description.describe(tmp_path / "m.gguf"), torch.device("cpu"), torch.float32, "int4")
    assert [part.format for part in ours.blocks[0].attention.qkv.parts] == ["Q4_0"] * 3
    with torch.inference_mode():
        expected, result = model(ids()).logits.log_softmax(-1), ours(ids()).float().log_softmax(-1)
    assert (expected.exp() * (expected - result)).sum(-1).mean() < 1e-3


@torch.inference_mode()
def test_a_mixed_file_is_computed_as_stored(tmp_path: Path) -> None:
    """Each matrix in its own format, mapped; logits are those of the float32 model of the same numbers."""
    Q = gguf.GGMLQuantizationType  # noqa: N806
    kinds = {"model.embed_tokens.weight": Q.F16, "lm_head.weight": Q.Q8_0}
    for n, kind in enumerate((Q.Q5_0, Q.F32)):
        kinds |= {f"model.layers.{n}.self_attn.{name}_proj.weight": kind for name in ("k", "o")}
        kinds |= {f"model.layers.{n}.mlp.{name}_proj.weight": kind for name in ("up", "down")}
    model, path = saved(tmp_path, vocab_size=83), tmp_path / "m.gguf"
    model.load_state_dict(write_gguf(path, model, Q.Q5_1, kinds=kinds), strict=False)
    described = description.describe(path)
    ours = weights.build_model(described, torch.device("cpu"), torch.float32, "stored")
    assert [part.format for part in ours.blocks[0].attention.qkv.parts] == ["Q5_1", "Q5_0", "Q5_1"]
    assert [part.format for part in ours.blocks[1].feed_forward.up.parts] == ["Q5_1", "F32"]
    for stored in (described.tensors["blk.0.attn_q.weight"], described.tensors["token_embd.weight"]):
        address = torch.frombuffer(stored.view, dtype=torch.uint8, offset=stored.start).data_ptr()
        assert address in {tensor.data_ptr() for tensor in ours.buffers()}
    text, cache = ids()[:1], KVCache(ours.config, 1, ours.device, ours.dtype)
    expected = model(text).logits[0]
    one_by_one = torch.cat([ours.step(text[:, n : n + 1], cache)[1][0] for n in range(text.shape[1])])
    for result in (ours(text)[0], one_by_one):
        assert (result - expected).abs().max() < 2e-4 * expected.abs().max()
    assert ours.fast


@torch.inference_mode()
def test_quantized_smollm2_is_close_to_float32(smollm2: Callable[[str], models.Model]) -> None:
    """KL divergence from float32 over all positions of a few texts, in nats; the file's own blocks lose nothing."""
    whole = smollm2("fp32")
    prompts = [torch.tensor([whole.tokenizer.encode(text)]) for text in TEXTS]
    expected = torch.cat([whole.transformer(prompt)[0] for prompt in prompts]).log_softmax(-1)
    for dtype, limit in (("stored", 1e-5), ("int4", 0.002), ("int8", 0.005)):
        packed = smollm2(dtype)
        assert (packed.info.dtype, packed.info.parameters) == (dtype, 134_515_008)
        result = torch.cat([packed.transformer(prompt)[0] for prompt in prompts]).float().log_softmax(-1)
        assert (expected.exp() * (expected - result)).sum(-1).mean() < limit
    assert smollm2("stored").info.format == "Q4_1 as stored"


@pytest.mark.parametrize("dtype", ["stored", "int8", "int4"])
def test_where_weights_cannot_be_packed(dtype: str) -> None:
    """In the rungs of the ladder, which are trained in float32."""
    with pytest.raises(UserError, match="model1"):
        models.load_model(ModelChoice(name="model1", dtype=dtype, device="cpu", tokenizer="bytes"))
