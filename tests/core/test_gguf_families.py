"""GGUF files of many families, in llama.cpp's layouts, have the logits of transformers."""

from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf_families import LAYOUTS, Layout, arranged, write
from gguf_files import Q
from model_folders import CPU, build
from reference_models import CASES, ids, reference
from torch import Tensor

from core.engine.cache import KVCache
from core.engine.packed.decode import CompiledTransformer
from core.loading import description, weights

YARN = {"rope_type": "yarn", "rope_theta": 900.0, "factor": 4.0, "original_max_position_embeddings": 16}
CHANGES = {
    "gpt-oss": ("gpt-oss", {"swiglu_limit": 7.0, "rope_parameters": YARN}),
    "mixtral-full": ("mixtral", {"sliding_window": None}),
    "gemma3": ("gemma3", {"query_pre_attn_scalar": 12}),
    "gemma2-head": ("gemma2", {"head_dim": 20, "query_pre_attn_scalar": 20}),
    "smollm3-four": ("smollm3", {"num_hidden_layers": 5, "no_rope_layer_interval": 4}),
}
"""GGUF has no key for some settings of config.json; these are the values that llama.cpp takes."""


def both(case: str, path: Path, layout: Layout, kind: Q = Q.F32) -> tuple[Tensor, Tensor]:
    """Logits of transformers and of the GGUF file."""
    name, changes = CHANGES.get(case, (case, {}))
    model = reference(name, **changes)
    write(path, model, layout, kind)
    with torch.inference_mode():
        return model(ids()).logits, build(path)(ids())


@pytest.mark.parametrize("case", LAYOUTS)
def test_a_gguf_file_has_the_logits_of_transformers(case: str, tmp_path: Path) -> None:
    """In float32, at every position."""
    want, got = both(case, tmp_path / "model.gguf", LAYOUTS[case])
    assert (want - got).abs().max() < 1e-4


@pytest.mark.parametrize("case", LAYOUTS)
@torch.inference_mode()
def test_the_compiled_step_has_the_logits_of_transformers(case: str, tmp_path: Path) -> None:
    """Of the file's own float32 numbers, token by token and past every window; nothing is rounded to 15 bits then."""
    name, changes = CHANGES.get(case, (case, {}))
    theirs, path = reference(name, **changes), tmp_path / "model.gguf"
    write(path, theirs, LAYOUTS[case])
    model = weights.build_model(description.describe(path), CPU, torch.float32, "stored")
    assert isinstance(model, CompiledTransformer)
    assert model.fast
    cache = KVCache(model.config, 1, CPU, torch.float32)
    logits = torch.cat([model.step(id.view(1, 1), cache)[1] for id in ids()[0]], 1)
    assert (theirs(ids()[:1]).logits - logits).abs().max() < 1e-4


@pytest.mark.parametrize("kind", [Q.MXFP4, Q.Q8_0, Q.Q4_0])
def test_quantized_experts_are_unpacked_one_by_one(kind: Q, tmp_path: Path) -> None:
    """Each has the numbers of its part of the stack."""
    model = reference("gpt-oss", hidden_size=64, intermediate_size=64, head_dim=16)
    says = LAYOUTS["gpt-oss"].says | {"expert_feed_forward_length": 64}
    layout = replace(LAYOUTS["gpt-oss"], says=says)
    write(tmp_path / "model.gguf", model, layout, kind)
    stacks = dict(arranged(model, layout))
    experts = build(tmp_path / "model.gguf").blocks[1].get_submodule("feed_forward.experts")
    for number in range(5):
        parts = [stacks[f"blk.1.ffn_{part}_exps.weight"][number] for part in ("gate", "up", "down")]
        gate, up, down = (gguf.dequantize(gguf.quantize(part, kind), kind) for part in parts)
        assert np.array_equal(experts.get_parameter(f"{number}.up.weight"), np.concatenate((gate, up)))
        assert np.array_equal(experts.get_parameter(f"{number}.down.weight"), down)


def test_every_case_is_a_reference_model() -> None:
    assert {CHANGES.get(case, (case,))[0] for case in LAYOUTS} <= set(CASES)
