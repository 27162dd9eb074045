"""GGUF files of many families, in llama.cpp's layouts, have the logits of transformers."""

from pathlib import Path

import pytest
import torch
from gguf_families import LAYOUTS, Layout, write
from gguf_files import Q
from model_folders import build
from reference_models import CASES, ids, reference
from torch import Tensor

CHANGES = {
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


def test_every_case_is_a_reference_model() -> None:
    assert {CHANGES.get(case, (case,))[0] for case in LAYOUTS} <= set(CASES)
