"""Whole models in each format of GGUF, as stored, against the float32 model of the numbers that gguf-py unpacks."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf_blocks import SCALES, WITHOUT_CODE, numbers, random_blocks
from gguf_files import Q, saved, write_gguf
from reference_models import ids

from core.loading import description, models, weights
from core.loading.info import ModelInfo

UNPACKED = (*WITHOUT_CODE, "TQ1_0", "TQ2_0", "MXFP4")
MADE_BY_GGUF = frozenset(("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4"))


def quantize(stored: Any, kind: Q) -> Any:
    """By gguf-py; random blocks of the same spread where it cannot."""
    if kind is Q.F32 or kind.name in MADE_BY_GGUF:
        return gguf.quantize(stored, kind)
    spread = float(numbers(kind.name, random_blocks(kind.name, *stored.shape)).std())
    return random_blocks(kind.name, *stored.shape, scale=float(np.std(stored)) / spread).numpy()


@torch.inference_mode()
def divergence(kind: str, tmp_path: Path) -> tuple[float, description.ModelDescription]:
    """KL(float32 ‖ stored) in nats of a model with all its matrices in one format."""
    model, path = saved(tmp_path, vocab_size=83), tmp_path / "m.gguf"
    model.load_state_dict(write_gguf(path, model, Q[kind], quantize=quantize), strict=False)
    described = description.describe(path)
    ours = weights.build_model(described, torch.device("cpu"), torch.float32, "stored")
    p, q = (logits.double().log_softmax(-1) for logits in (model(ids()).logits, ours(ids())))
    assert p.exp().std() > 1e-4  # no model that says the same of all tokens
    return float((p.exp() * (p - q)).sum(-1).mean()), described


def shown(described: description.ModelDescription) -> str:
    """What is shown of the format."""
    unpacked = ", ".join(weights.unpacked(described))
    return ModelInfo(
        "x", "Llama", 1, 1, 1, "cpu", "stored", "x", "x", stored=described.format, unpacked=unpacked
    ).format


@pytest.mark.parametrize("kind", SCALES)
def test_a_model_as_stored_has_the_distribution_of_its_unpacked_numbers(kind: str, tmp_path: Path) -> None:
    found, described = divergence(kind, tmp_path)
    assert found < 1e-5
    assert shown(described) == f"{kind} as stored"


@pytest.mark.parametrize("kind", UNPACKED)
def test_a_format_without_compiled_code_is_unpacked_and_named(kind: str, tmp_path: Path) -> None:
    found, described = divergence(kind, tmp_path)
    assert found < 1e-5
    assert shown(described) == f"{kind} unpacked to fp16"


@torch.inference_mode()
def test_a_mixed_file_is_computed_as_stored_whichever_types_it_has(tmp_path: Path) -> None:
    """As where a width makes some tensors Q4_0 in a file of Q3_K: `auto` makes nothing 4 bits of what is not."""
    model, path = saved(tmp_path, vocab_size=83), tmp_path / "m.gguf"
    block = "model.layers.0."
    kinds = {f"{block}mlp.down_proj.weight": Q.Q4_0, f"{block}mlp.up_proj.weight": Q.TQ1_0, "lm_head.weight": Q.Q6_K}
    numbers = write_gguf(path, model, Q.Q3_K, kinds=kinds, quantize=quantize)
    model.load_state_dict(numbers, strict=False)
    described = description.describe(path)
    cpu = torch.device("cpu")
    assert models._usual_dtype(described, cpu) == "stored"
    ours = weights.build_model(described, cpu, torch.float32, "stored")
    p, q = (logits.double().log_softmax(-1) for logits in (model(ids()).logits, ours(ids())))
    assert (p.exp() * (p - q)).sum(-1).mean() < 1e-5


def test_a_mixed_file_names_what_is_unpacked() -> None:
    info = ModelInfo("x", "Llama", 1, 1, 1, "cpu", "stored", "x", "x", stored="IQ2_M", unpacked="IQ2_S, IQ3_S")
    assert info.format == "IQ2_M as stored, but IQ2_S, IQ3_S unpacked to fp16"
