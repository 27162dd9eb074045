"""Weights in 8 and 4 bits: the very numbers of the file where it has them, near ones where not, and how far off."""

from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from core.engine.packed.packed import GROUP, Int4Linear, Int8Embedding, Int8Linear, int4, int8, unpack_q4, unpack_q8
from gguf_files import saved, write_gguf
from reference_models import CASES, ids, reference

from core.engine import device
from core.errors import UserError
from core.loading import description, models, weights
from core.loading.choice import ModelChoice

TEXTS = [
    "I prefer oat milk in my coffee because it",
    "The capital of France is Paris, and the capital of Germany is",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "12 × 34 = 408; 日本語",
]


def matrix(rows: int = 48, columns: int = 96) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))


def close(got: torch.Tensor, want: torch.Tensor) -> bool:
    """Within what bfloat16 can tell."""
    return bool((got.float() - want).abs().max() < 0.02 * want.abs().max())


@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("biased", [False, True])
def test_a_packed_map_is_the_product_with_what_it_stands_for(rows: int, biased: bool) -> None:
    """For one token and for many, with a bias and without."""
    x = torch.randn(2, rows, 96, generator=torch.Generator().manual_seed(1)).bfloat16()
    bias = torch.arange(48).bfloat16() if biased else None
    levels, scale = int8(matrix())
    want = x.float() @ (levels * scale.float()[:, None]).T + (0 if bias is None else bias.float())
    assert close(Int8Linear(levels, scale, bias)(x), want)
    four, scales, zeros = int4(matrix())
    groups = (four.unflatten(1, (-1, GROUP)).float() - 8) * scales[..., None] + zeros[..., None]
    want = x.float() @ groups.flatten(1).T + (0 if bias is None else bias.float())
    assert close(Int4Linear(four, scales, zeros, bias)(x), want)


def test_levels_are_the_nearest() -> None:
    """No weight is further off than half a level, and a row of zeros stays one."""
    weight = matrix()
    weight[3] = 0
    levels, scale = int8(weight)
    assert ((levels * scale.float()[:, None] - weight).abs() <= scale.float()[:, None] * 0.51).all()
    four, scales, zeros = int4(weight)
    groups = (four.unflatten(1, (-1, GROUP)).float() - 8) * scales[..., None] + zeros[..., None]
    off = (groups.flatten(1) - weight).abs().unflatten(1, (-1, GROUP))
    assert (off <= scales[..., None] * 0.6).all()
    embedding = Int8Embedding(levels, scale)
    assert not embedding(torch.tensor([[3]])).any()
    assert close(embedding(torch.arange(48)[None]), weight[None])


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1"])
def test_4_bits_of_a_file_are_taken_as_they_are(kind: str) -> None:
    """Levels, scales and zeros stand for the very numbers that the gguf package unpacks."""
    packed = gguf.quantize(matrix().numpy(), gguf.GGMLQuantizationType[kind])
    levels, scale, zero = unpack_q4(torch.from_numpy(packed), with_minimum=kind == "Q4_1")
    groups = (levels.unflatten(1, (-1, GROUP)).float() - 8) * scale[..., None] + zero[..., None]
    want = torch.from_numpy(gguf.dequantize(packed, gguf.GGMLQuantizationType[kind]))
    assert (groups.flatten(1) - want).abs().max() < 1e-6


def test_8_bits_of_a_file_are_taken_as_they_are() -> None:
    """The very numbers that the gguf package unpacks."""
    packed = gguf.quantize(matrix().numpy(), gguf.GGMLQuantizationType.Q8_0)
    want = torch.from_numpy(gguf.dequantize(packed, gguf.GGMLQuantizationType.Q8_0))
    assert torch.equal(unpack_q8(torch.from_numpy(packed)), want)


@pytest.mark.parametrize("rows", [16, 512, 528, 1040])
def test_4_bits_packed_some_rows_at_a_time(rows: int) -> None:
    """They lie in memory as those that are packed at once."""
    levels = torch.randint(0, 16, (rows, 64), dtype=torch.uint8)
    scale = torch.ones(rows, 2)
    whole = torch.ops.aten._convert_weight_to_int4pack_for_cpu(levels.int(), 1)
    assert torch.equal(Int4Linear(levels, scale, scale).levels, whole)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("case", CASES)
def test_every_family_can_be_packed(case: str, bits: int, tmp_path: Path) -> None:
    """Each packed map stands for the matrix and bias of the whole model, to within a level."""
    sizes = {"n_embd": 48, "n_inner": 96} if case.startswith("gpt2") else {"hidden_size": 64, "intermediate_size": 96}
    reference(case, **sizes).save_pretrained(tmp_path)
    described = description.describe(tmp_path)
    whole = weights.build_model(described, torch.device("cpu"), torch.float32)
    packed = weights.build_model(described, torch.device("cpu"), torch.float32, bits)
    assert packed.dtype is torch.float32
    assert isinstance(packed.blocks[0].feed_forward.down, Int4Linear if bits == 4 else Int8Linear)
    for name, module in whole.named_modules():
        if isinstance(module, torch.nn.Linear):
            few, weight = packed.get_submodule(name), module.weight
            nothing = few(torch.zeros(1, weight.shape[1]))
            rows = few(torch.eye(weight.shape[1])) - nothing  # the matrix, turned
            assert (rows.T - weight).abs().max() < 0.1 * weight.abs().max()
            assert (
                close(nothing[0], torch.zeros(len(weight)) if module.bias is None else module.bias) or not nothing.any()
            )
    every = torch.arange(83)[None]
    assert (packed.embed(every) - whole.embed(every)).abs().max() < 0.01 * whole.embed.weight.abs().max()


@pytest.mark.parametrize("bits", [8, 4])
def test_what_does_not_fit_the_kernels_stays_as_it_is(bits: int, tmp_path: Path) -> None:
    """The kernels read beyond the end of matrices of other widths: those stay as they are."""
    model = reference("qwen2-tied")  # 40 wide
    model.save_pretrained(tmp_path)
    ours = weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32, bits)
    assert ours.unembed.weight is ours.embed.weight
    with torch.inference_mode():
        want, got = model(ids()).logits.log_softmax(-1), ours(ids()).float().log_softmax(-1)
    assert (want.exp() * (want - got)).sum(-1).mean() < 0.2


def test_a_file_of_4_bits_stays_one(tmp_path: Path) -> None:
    """Queries and keys of Llama in our order, without unpacking to floats and back."""
    values: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 64, "vocab_size": 83}
    model = saved(tmp_path, **values)
    model.load_state_dict(write_gguf(tmp_path / "m.gguf", model, gguf.GGMLQuantizationType.Q4_1), strict=False)
    ours = weights.build_model(description.describe(tmp_path / "m.gguf"), torch.device("cpu"), torch.float32, 4)
    assert isinstance(ours.blocks[0].attention.qkv, Int4Linear)
    with torch.inference_mode():
        want, got = model(ids()).logits.log_softmax(-1), ours(ids()).float().log_softmax(-1)
    assert (want.exp() * (want - got)).sum(-1).mean() < 1e-3


@torch.inference_mode()
def test_smollm2_in_few_bits_says_nearly_the_same() -> None:
    """KL from float32 over all positions of a few texts, in nats."""
    whole = models.load_model(ModelChoice(name="smollm2", device="cpu", dtype="fp32"))
    prompts = [torch.tensor([whole.tokenizer.encode(text)]) for text in TEXTS]
    want = torch.cat([whole.transformer(prompt)[0] for prompt in prompts]).log_softmax(-1)
    for dtype, most in (("int4", 0.002), ("int8", 0.007)):
        packed = models.load_model(ModelChoice(name="smollm2", device="cpu", dtype=dtype))
        assert (packed.info.dtype, packed.info.parameters) == (dtype, 134_515_008)
        got = torch.cat([packed.transformer(prompt)[0] for prompt in prompts]).float().log_softmax(-1)
        assert (want.exp() * (want - got)).sum(-1).mean() < most


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_where_weights_cannot_be_packed(dtype: str) -> None:
    """On a GPU, whose kernels differ, and in the rungs of the ladder, which are made in float32."""
    with pytest.raises(UserError, match="bf16"):
        device.dtype(dtype, torch.device("cuda:0"))
    with pytest.raises(UserError, match="model1"):
        models.load_model(ModelChoice(name="model1", dtype=dtype, device="cpu", tokenizer="bytes"))
