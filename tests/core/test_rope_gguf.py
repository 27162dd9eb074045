"""Rotary positions of GGUF files, as llama.cpp reads them, against transformers with the same frequencies."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_files import saved, write_gguf
from model_folders import build, refusal
from torch import Tensor

PAIRS = 16
FREQS = torch.linspace(1.0, 4.0, PAIRS)


def difference(
    rope: dict[str, Any], says: dict[str, Any], folder: Path, tensors: dict[str, Tensor] | None = None
) -> float:
    """Between the logits of transformers with the settings `rope` and those of a GGUF file that `says` the same."""
    model = saved(folder, rope_parameters={"rope_theta": 900.0, **rope}, max_position_embeddings=64)
    path = folder / "model.gguf"
    write_gguf(path, model, says=says, tensors=tensors)
    ids = torch.randint(0, 61, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return (model(ids, use_cache=False).logits - build(path)(ids)).abs().max().item()


LINEAR = {"rope_type": "linear", "factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
YARN_SAYS = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 16}


@pytest.mark.parametrize(
    ("rope", "says"),
    [
        ({"rope_type": "default"}, {"rope.scaling.type": "none", "rope.scaling.factor": 4.0}),
        (LINEAR, {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}),
        (LINEAR, {"rope.scaling.factor": 4.0}),
        (LINEAR, {"rope.scale_linear": 4.0}),
        ({"rope_type": "default"}, {"rope.scaling.factor": 1.0, "rope.scale_linear": 4.0}),
        (YARN, YARN_SAYS),
        ({**YARN, "attention_factor": 1.5 * (0.1 * math.log(4) + 1)}, {**YARN_SAYS, "rope.scaling.attn_factor": 1.5}),
        (
            {**YARN, "beta_fast": 5.0, "beta_slow": 0.5},
            {**YARN_SAYS, "rope.scaling.yarn_beta_fast": 5.0, "rope.scaling.yarn_beta_slow": 0.5},
        ),
        ({**YARN, "mscale": 1.0, "mscale_all_dim": 0.5}, {**YARN_SAYS, "rope.scaling.yarn_log_multiplier": 0.5}),
    ],
)
def test_a_scaling_of_the_metadata(rope: dict[str, Any], says: dict[str, Any], tmp_path: Path) -> None:
    """The type where there is one, else linear; the older key of a linear factor where there is no other."""
    assert difference(rope, says, tmp_path) < 1e-4


def longrope(divisors: Tensor, others: Tensor, **more: float) -> dict[str, Any]:
    return {
        "rope_type": "longrope",
        "short_factor": divisors.tolist(),
        "long_factor": others.tolist(),
        "original_max_position_embeddings": 64,
        "attention_factor": 1.0,
        **more,
    }


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_divisors_of_pairs_multiply_the_linear_factor(factor: float, tmp_path: Path) -> None:
    """Llama 3.1's tensor of divisors."""
    rope = longrope(factor * FREQS, factor * FREQS)
    assert difference(rope, {"rope.scaling.factor": factor}, tmp_path, {"rope_freqs.weight": FREQS}) < 1e-4


def test_a_part_of_each_head_turns(tmp_path: Path) -> None:
    """Its first pairs of rows; transformers' proportional rotation turns the same pairs of a head of 32."""
    rope = {"rope_type": "proportional", "partial_rotary_factor": 0.25}
    says = {"rope.dimension_count": 8, "rope.freq_base": 900.0 ** (8 / 32)}
    assert difference(rope, says, tmp_path) < 1e-4


@pytest.mark.parametrize("trained", [16, 40, 64])
def test_longrope_has_two_tensors_of_divisors(trained: int, tmp_path: Path) -> None:
    """The short ones up to the trained context, the long ones for longer texts."""
    rope = longrope(FREQS, FREQS.flip(0), original_max_position_embeddings=trained, attention_factor=1.2)
    tensors = {"rope_factors_short.weight": FREQS, "rope_factors_long.weight": FREQS.flip(0)}
    says = {"rope.scaling.attn_factor": 1.2, "rope.scaling.original_context_length": trained}
    assert difference(rope, says, tmp_path, tensors) < 1e-4
    assert difference(rope, {**says, "rope.scaling.type": "longrope"}, tmp_path, tensors) < 1e-4


@pytest.mark.parametrize(
    ("says", "tensors", "part"),
    [
        ({"rope.scaling.type": "spiral"}, {}, "rope.scaling.type is 'spiral'"),
        ({"rope.scaling.type": "longrope"}, {}, "rope_factors_long.weight"),
        ({}, {"rope_factors_short.weight": FREQS}, "rope_factors_long.weight"),
        ({}, {"rope_freqs.weight": FREQS[1:]}, "rope_freqs.weight is F32 [15]"),
        ({"rope.dimension_count": 64}, {}, "64"),
        ({**YARN_SAYS, "rope.scaling.yarn_ext_factor": 0.5}, {}, "yarn_ext_factor is 0.5"),
    ],
)
def test_what_cannot_be_computed_is_refused(
    says: dict[str, Any], tensors: dict[str, Tensor], part: str, tmp_path: Path
) -> None:
    """In one line that names the key or the tensor."""
    write_gguf(tmp_path / "model.gguf", saved(tmp_path), says=says, tensors=tensors)
    text = refusal(tmp_path / "model.gguf")
    assert "model.gguf" in text
    assert part in text
