"""Properties of every lens: plain values, every rung, every weight format, an unchanged model."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from reference_models import reference, wide
from steps import RUNGS, answers_on, some_ids, step_on, wrapped

from core.activations.apply import patched
from core.activations.patch import Patch
from core.errors import UserError
from core.lenses import NAMES, lens
from core.loading import description, weights
from core.loading.model import Model
from core.progress import Progress

Small = Callable[..., Model]
REFUSED = {
    "attention": ("model1", "model2"),
    "attribution": ("model1", "model2", "model3"),
    "circuit": ("model1", "model2"),
    "contrast": ("model1", "model2"),
    "heads": ("model1", "model2"),
    "jacobian": ("model1", "model2"),
    "patchscope": ("model1", "model2"),
    "paths": ("model1", "model2"),
}
"""The rungs that a lens has nothing to show of."""
FROM_RUNGS = [name for name in NAMES if name not in ("ladder", "device")]
"""The lenses that load no other model than the one they are given."""


def plain(value: Any) -> bool:
    """Whether a value is made of frozen dataclasses, tuples, numbers, strings and bytes only."""
    if isinstance(value, tuple):
        return all(map(plain, value))
    if is_dataclass(value):
        frozen = value.__dataclass_params__.frozen and hasattr(type(value), "__slots__")
        return frozen and all(plain(getattr(value, each.name)) for each in fields(value))
    return value is None or isinstance(value, int | float | str | bytes)


def test_every_file_is_a_lens_whose_function_has_its_name() -> None:
    assert NAMES == (
        "attention", "attribution", "circuit", "context", "contrast", "device", "flow", "gradients", "heads",
        "jacobian", "lab", "ladder", "last_token", "logit", "patchscope", "paths", "watermark", "weights",
    )  # fmt: skip
    for name in NAMES:
        assert lens(name).__name__ == name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rung", RUNGS)
def test_answers_are_plain_values_and_the_model_is_unchanged(name: str, rung: str, small: Small) -> None:
    """On every rung, with a text longer than the context; model1 and model2 have no attention: a user error."""
    model, ids = small(rung), some_ids(9)
    with torch.inference_mode():
        before = model.transformer(torch.tensor([ids[-6:]]))
    step = step_on(model, ids, target=65)
    try:
        answers = answers_on(name, step)
    except UserError as error:
        assert str(error).count("\n") == 0
        assert rung in REFUSED[name]
        return
    assert answers
    assert not isinstance(answers[-1], Progress)
    assert all(map(plain, answers))
    with torch.inference_mode():
        assert torch.equal(model.transformer(torch.tensor([ids[-6:]])), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.transformer.modules())


@pytest.mark.parametrize("packing", [None, "int8", "int4"])
@pytest.mark.parametrize("case", ["gpt2", "qwen3"])
def test_every_weight_format_has_answers(case: str, packing: str | None, tmp_path: Path) -> None:
    """Models from files in bfloat16 and packed in 8 and 4 bits."""
    reference(case, vocab_size=257, **wide(case)).save_pretrained(tmp_path)
    dtype = torch.float32 if packing else torch.bfloat16
    model = wrapped(weights.build_model(description.describe(tmp_path), torch.device("cpu"), dtype, packing))
    for name in FROM_RUNGS:
        assert plain(answers_on(name, step_on(model, some_ids(9)))[-1])


@pytest.mark.parametrize("name", [name for name in FROM_RUNGS if name != "circuit"])  # a circuit refuses this patch
def test_lenses_look_at_the_patched_model(name: str, small: Small) -> None:
    """The patch stays installed."""
    model, ids = small("model5"), some_ids(6)
    with patched(model, [Patch(part="block", layer=1)]):
        with torch.inference_mode():
            during = model.transformer(torch.tensor([ids]))
        answer = answers_on(name, step_on(model, ids))[-1]
        with torch.inference_mode():
            assert torch.equal(model.transformer(torch.tensor([ids])), during)
    if name == "logit":
        probabilities = during[0, -1].softmax(-1)
        assert answer.layers[-1].top[0].probability == pytest.approx(probabilities.max().item(), rel=1e-5)
        assert answer.layers[-2].top[0].id == answer.layers[2].top[0].id  # the last block adds nothing
