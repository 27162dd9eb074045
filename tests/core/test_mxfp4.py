"""gpt-oss with experts of 4-bit floats, as it was published, against transformers."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from model_folders import build, reconfigure, refusal, rewrite
from reference_models import ids, reference
from torch import Tensor
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from core.engine.packed.linear import matrix
from core.loading import description, weights

QUANTIZATION = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}
EXPERTS = "model.layers.{}.mlp.experts.{}_proj"
SIZES = {"gate_up": (128, 2), "down": (64, 2)}
"""Rows of a matrix and groups of 32 in a row."""


@pytest.fixture
def model(tmp_path: Path) -> Any:
    """A random model of transformers, saved with its experts in blocks of random bits."""
    random = torch.Generator().manual_seed(0)
    theirs = reference("gpt-oss", hidden_size=64, intermediate_size=64, head_dim=16)
    theirs.save_pretrained(tmp_path)

    def packed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        for layer in range(theirs.config.num_hidden_layers):
            for part, (rows, groups) in SIZES.items():
                name = EXPERTS.format(layer, part)
                blocks = torch.randint(0, 256, (5, rows, groups, 16), dtype=torch.uint8, generator=random)
                scales = torch.randint(120, 126, (5, rows, groups), dtype=torch.uint8, generator=random)
                numbers = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
                theirs.get_parameter(name).data = numbers
                del tensors[name]
                tensors |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        return tensors

    rewrite(tmp_path, packed)
    reconfigure(tmp_path, quantization_config=QUANTIZATION)
    return theirs


@torch.inference_mode()
def test_4_bit_floats_are_unpacked_as_transformers_does(model: Any, tmp_path: Path) -> None:
    """Logits of the numbers that its own function unpacks, and of the files as it reads them."""
    got = build(tmp_path)(ids())
    assert (got - model(ids()).logits).abs().max() < 1e-4
    how = transformers.Mxfp4Config(dequantize=True)
    read = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=how, dtype=torch.float32)
    assert (got - read(ids()).logits).abs().max() < 1e-4


def test_they_are_exact_in_bfloat16_and_become_8_bits(model: Any, tmp_path: Path) -> None:
    """8 bits within half a step of the largest number of 32."""
    eight = weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32, "int8")
    whole, half, packed = (
        each.blocks[1].feed_forward.experts[3].up for each in (build(tmp_path), build(tmp_path, torch.bfloat16), eight)
    )
    assert torch.equal(half.weight.float(), whole.weight)
    assert ((matrix(packed) - whole.weight).abs() <= whole.weight.abs().max() / 250).all()


def test_what_does_not_fit_is_refused_by_name(model: Any, tmp_path: Path) -> None:
    """Scales that are missing or of another shape, blocks of other numbers, and the same method in another family."""
    name = EXPERTS.format(1, "down")
    scales: dict[str, Tensor] = {}

    def without(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        scales["x"] = tensors.pop(f"{name}_scales")
        return tensors

    rewrite(tmp_path, without)
    assert "layers.1.mlp.experts.down_proj_blocks.0.weight_scales is missing" in refusal(tmp_path)
    rewrite(tmp_path, lambda tensors: tensors | {f"{name}_scales": scales["x"][:, :7].contiguous()})
    assert "layers.1.mlp.experts.down_proj_blocks.0.weight_scales is 7 × 2" in refusal(tmp_path)
    rewrite(tmp_path, lambda tensors: tensors | {f"{name}_scales": scales["x"].float()})
    assert "layers.1.mlp.experts.down_proj_scales is F32" in refusal(tmp_path)
    reconfigure(tmp_path, model_type="llama")
    assert "quant_method is 'mxfp4'" in refusal(tmp_path)
