"""8-bit floats in safetensors: as torch converts them, alone or with a scale for each block."""

from pathlib import Path

import pytest
import torch
from model_folders import build, reconfigure, refusal, rewrite
from torch import Tensor

from core.loading import description, weights

KEY = "model.layers.1.mlp.up_proj.weight"
FP8 = {"quant_method": "fp8", "weight_block_size": [96, 100], "activation_scheme": "dynamic", "fmt": "e4m3"}


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("packing", [None, "int8"])
def test_8_bit_floats_without_scales_are_converted(dtype: torch.dtype, packing: str | None, llama: Path) -> None:
    """All matrices of the model, as torch converts them."""
    plain: dict[str, Tensor] = {}

    def narrow(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        narrow = {name: each.to(dtype) if each.ndim == 2 else each for name, each in tensors.items()}
        plain.update({name: each.float() for name, each in narrow.items()})
        return narrow

    rewrite(llama, narrow)
    got = weights.build_model(description.describe(llama), torch.device("cpu"), torch.float32, packing)
    rewrite(llama, lambda _: plain)
    want = weights.build_model(description.describe(llama), torch.device("cpu"), torch.float32, packing)
    assert all(torch.equal(a, b) for a, b in zip(got.state_dict().values(), want.state_dict().values(), strict=True))


def test_each_block_is_multiplied_by_its_scale(llama: Path) -> None:
    """Also the partial blocks at the ends; compared with a loop."""
    scales = torch.rand(3, 3, generator=torch.Generator().manual_seed(0)) + 0.5
    stored: dict[str, Tensor] = {}

    def narrow(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        stored["x"] = tensors[KEY].to(torch.float8_e4m3fn)
        return tensors | {KEY: stored["x"], f"{KEY}_scale_inv": scales}

    rewrite(llama, narrow)
    reconfigure(llama, quantization_config={**FP8, "modules_to_not_convert": ["lm_head"]})
    want = stored["x"].float()
    for row in range(256):
        for block in range(3):
            want[row, 100 * block : 100 * block + 100] *= scales[row // 96, block]
    up = build(llama).blocks[1].feed_forward.up.weight[256:]  # rows after those of the gate
    assert torch.equal(up, want)


def test_scales_that_are_missing_or_of_another_shape_are_refused(llama: Path) -> None:
    """By name; scales without a configuration that mentions them too; other methods by theirs."""
    rewrite(llama, lambda tensors: tensors | {KEY: tensors[KEY].to(torch.float8_e4m3fn)})
    reconfigure(llama, quantization_config=FP8)
    assert "layers.1.mlp.up_proj.weight_scale_inv is missing, but config.json says 3 × 3" in refusal(llama)
    rewrite(llama, lambda tensors: tensors | {f"{KEY}_scale_inv": torch.ones(2, 3)})
    assert "layers.1.mlp.up_proj.weight_scale_inv is 2 × 3" in refusal(llama)
    reconfigure(llama, quantization_config=None)
    assert "layers.1.mlp.up_proj.weight_scale_inv" in refusal(llama)
    for change, says in (
        ({"quant_method": "gptq"}, "quant_method is 'gptq'"),
        ({"weight_block_size": None}, "weight_block_size"),
        ({"activation_scheme": "static"}, "activation_scheme is 'static'"),
        ({"other": 1}, "quantization_config.other is 1"),
    ):
        reconfigure(llama, quantization_config={**FP8, **change})
        assert says in refusal(llama)


def test_a_not_a_number_among_8_bit_floats_is_named(llama: Path) -> None:
    """float8_e4m3fn has no infinity, but a NaN."""

    def spoil(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        tensors[KEY][3, 5] = torch.nan
        return tensors | {KEY: tensors[KEY].to(torch.float8_e4m3fn)}

    rewrite(llama, spoil)
    assert "up_proj.weight has non-finite weights" in refusal(llama)
