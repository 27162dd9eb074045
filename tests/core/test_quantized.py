"""Linear maps by torch's own 8-bit and 4-bit kernels: their numbers, and models that consist of them."""

from pathlib import Path

import pytest
import torch
from devices_here import HERE
from model_folders import CPU
from reference_models import ids, reference, wide
from torch import Tensor, nn

from core.engine.lora import Adapter
from core.engine.model import Transformer
from core.engine.packed.linear import matrix
from core.engine.placement import Placement
from core.engine.quantized import Int4Linear, Int8Embedding, Int8Linear, Quantized, int4, int8
from core.loading import description, weights

KINDS = {"int8": (int8, Int8Linear), "int4": (int4, Int4Linear)}
DTYPES = [torch.bfloat16, torch.float16]
ALL = pytest.mark.parametrize(
    ("kind", "dtype", "device"), [(kind, dtype, device) for kind in KINDS for dtype in DTYPES for device in HERE]
)


def linear(kind: str, dtype: torch.dtype, device: torch.device, bias: Tensor | None = None) -> tuple[nn.Module, Tensor]:
    """A quantized map 160 → 96, from rows that are given 40 at a time, and the weights that were quantized."""
    if (kind, dtype, device.type) == ("int4", torch.float16, "cuda"):
        pytest.skip("torch's 4-bit kernel of CUDA takes bf16 only")
    weight = torch.randn(96, 160, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.1, 3, 96)[:, None]
    quantize, module = KINDS[kind]
    return module(*quantize(weight.split(40), dtype, device), bias), weight


@ALL
def test_each_weight_is_the_nearest_level(kind: str, dtype: torch.dtype, device: torch.device) -> None:
    """Within half a step: 1 / 254 of a row's largest weight, or 1 / 30 of the range of 32 weights, and rounding."""
    module, weight = linear(kind, dtype, device)
    if kind == "int8":
        step = weight.abs().amax(1, keepdim=True).expand_as(weight) / 127
    else:
        groups = weight.unflatten(1, (-1, 32))
        step = ((groups.amax(-1) - groups.amin(-1)) / 15).repeat_interleave(32, 1)
    rounding = 4 * torch.finfo(dtype).eps * weight.abs().amax(1, keepdim=True)
    assert ((matrix(module) - weight).abs() <= step / 2 + rounding).all()
    assert torch.equal(matrix(module, 3, 50), matrix(module)[3:50])


@ALL
@pytest.mark.parametrize("positions", [1, 2, 40], ids=["token", "two", "prompt"])
def test_products_equal_those_of_float64(positions: int, kind: str, dtype: torch.dtype, device: torch.device) -> None:
    """Within the rounding of the states' dtype, by the products' magnitudes; with a bias."""
    bias = torch.linspace(-1, 1, 96, dtype=dtype, device=device)
    module, _ = linear(kind, dtype, device, bias)
    x = torch.randn(2, positions, 160, generator=torch.Generator().manual_seed(1)).to(device, dtype)
    exact, whole = x.cpu().double(), matrix(module).double().T
    got = module(x)
    assert got.dtype is dtype
    bound = 4 * torch.finfo(dtype).eps * (exact.abs() @ whole.abs() + bias.cpu().double().abs())
    assert ((got.cpu().double() - exact @ whole - bias.cpu().double()).abs() <= bound).all()


@ALL
def test_gradients_are_those_of_the_dequantized_matrix(kind: str, dtype: torch.dtype, device: torch.device) -> None:
    """For float32 states too, which lenses use."""
    module, _ = linear(kind, dtype, device)
    x = torch.randn(3, 160, device=device, requires_grad=True)
    (gradient,) = torch.autograd.grad(module(x).sum(), x)
    want = matrix(module).sum(0).expand(3, -1)
    assert torch.allclose(gradient.cpu(), want, atol=1e-4)


def test_an_odd_size_takes_no_kernel() -> None:
    module = Int8Linear(*int8([torch.randn(7, 9)], torch.bfloat16, CPU))
    x = torch.randn(1, 9).bfloat16()
    assert torch.allclose(module(x).float(), x.float() @ matrix(module).T, rtol=0.02, atol=0.02)


# Models ---------------------------------------------------------------------------------------------------------------


def whole(model: Transformer) -> Placement:
    """All of a model in one place, which is chosen as several are: so the CPU has the kernels of GPUs here."""
    return {"": CPU}


@pytest.fixture(scope="module", params=["llama-biases", "gpt2", "qwen2-tied", "gemma2", "mixtral", "opt-norms-after"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    reference(request.param, **wide(request.param)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("packing", KINDS)
@torch.inference_mode()
def test_a_model_computes_what_its_dequantized_weights_do(packing: str, folder: Path) -> None:
    """Every large matrix is quantized; the same model with the dequantized weights in float64 has its logits."""
    described = description.describe(folder)
    model = weights.build_model(described, CPU, torch.float32, packing, place=whole)
    plain = weights.build_model(described, CPU, torch.float32).double()
    quantized = {name: each for name, each in model.named_modules() if isinstance(each, Quantized)}
    assert {"embed", "unembed", "blocks.0.attention.qkv"} <= set(quantized)
    assert isinstance(model.embed, Int8Embedding)
    assert isinstance(quantized["blocks.0.attention.qkv"], Int4Linear if packing == "int4" else Int8Linear)
    for name, each in quantized.items():
        plain.get_submodule(name).weight = nn.Parameter(matrix(each).double(), requires_grad=False)
    want = plain(ids())
    assert (model(ids()) - want).abs().max() < 2e-4 * want.abs().max()
    cache = model.cache(2)
    tokens = torch.cat([model.step(ids()[:, n : n + 1], cache)[1] for n in range(5)], 1)
    assert (tokens - want[:, :5]).abs().max() < 2e-4 * want.abs().max()
    assert model.config.tied == (model.unembed.weight is model.embed.weight)


def test_an_adapter_adds_to_quantized_maps(folder: Path) -> None:
    """Deltas are hooks, so they work beside any weights."""
    model = weights.build_model(description.describe(folder), CPU, torch.float32, "int8", place=whole)
    before = model(ids())
    adapter = Adapter(model, {"unembed": [(slice(0, 5), _One())]})
    assert torch.allclose(model(ids())[..., :5], before[..., :5] + 1, atol=1e-4) or model.config.logit_cap
    adapter.scale = 0.0
    assert torch.equal(model(ids()), before)


class _One(nn.Module):
    def forward(self, x: Tensor, output: Tensor) -> Tensor:
        return torch.ones_like(output)
