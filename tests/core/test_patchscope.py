"""The patchscope equals a plain hook in transformers; a prompt's own stream put into itself changes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from causal_models import CASES, CLEAN, causal_model
from steps import last, some_ids, step_on
from torch import Tensor

from core.causal.patchscope import patched_runs
from core.causal.target_prompts import IDENTITY, PROMPTS
from core.engine.model import Transformer
from core.errors import UserError
from core.lenses.patchscope import Patchscope, patchscope
from core.loading import description, weights
from core.loading.model import Model

Small = Callable[..., Model]
TARGET = (5, 61, 12, 33, 9, 70)
"""A target prompt."""
PLACE = 3


def layers_of(model: Any) -> list[Any]:
    """The blocks of a transformers model, and the norm after them."""
    base = model.base_model
    blocks = getattr(base, "h", None) or base.layers
    return [*blocks, getattr(base, "ln_f", None) or getattr(base, "norm", None) or base.final_layer_norm]


@torch.no_grad()
def by_hook(model: Any, state: Tensor, depth: int, count: int) -> tuple[Tensor, list[int]]:
    """Logits after the target prompt, and greedy ids, the whole text read anew for each with one hook."""

    def put(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        stream = inputs[0].clone()
        stream[0, PLACE] = state
        return (stream, *inputs[1:])

    ids, first = list(TARGET), torch.empty(0)
    handle = layers_of(model)[depth].register_forward_pre_hook(put)
    try:
        for n in range(count):
            logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
            first = logits if not n else first
            ids.append(int(logits.argmax()))
    finally:
        handle.remove()
    return first, ids[len(TARGET) :]


@pytest.mark.parametrize("case", CASES)
def test_it_equals_a_hook_in_transformers(case: str, tmp_path: Path) -> None:
    """After the same layer, and the last stream into every layer."""
    model = causal_model(case)
    model.save_pretrained(tmp_path)
    transformer = weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32, None)
    blocks = len(transformer.blocks)
    kept: list[Tensor] = []
    handles = [
        each.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0][0, -1])) for each in layers_of(model)
    ]
    with torch.no_grad():
        model(torch.tensor([CLEAN]), use_cache=False)
    for handle in handles:
        handle.remove()
    states = torch.stack(kept)
    for sources, depths in (
        ([*range(blocks + 1)], [*range(blocks + 1)]),
        ([blocks] * (blocks + 1), [*range(blocks + 1)]),
    ):
        found = [*filter(None, patched_runs(transformer, TARGET, PLACE, states[sources], depths, 3))]
        logits = torch.cat([each.logits for each in found])
        generated = [ids for each in found for ids in each.generated]
        for row, (source, depth) in enumerate(zip(sources, depths, strict=True)):
            expected, ids = by_hook(model, states[source], depth, 3)
            assert torch.allclose(logits[row], expected, atol=2e-4)
            assert list(generated[row]) == ids


@pytest.mark.parametrize("name", ["model3", "model5", "model6"])
def test_a_prompts_own_stream_changes_nothing(name: str, small: Small) -> None:
    """Put at its own position after its own layer. A stream of another position does change something."""
    model, text = small(name), "oat m"
    answer: Patchscope = last(patchscope(step_on(model, list(text.encode())), prompt=text, count=2))
    assert answer.position == len(text) - 1
    assert all(row.kl_bits < 1e-9 and row.generated == answer.unpatched for row in answer.rows)
    assert answer.rows[-1].top[0].probability == pytest.approx(answer.rows[0].top[0].probability, abs=1e-6)
    other = last(patchscope(step_on(model, list(b"oat k")), prompt=text, count=2))
    assert all(row.kl_bits > 0 for row in other.rows)


def test_the_last_stream_at_the_last_position_is_read_as_the_models_own_output(small: Small) -> None:
    model, ids = small("model5"), some_ids(5)
    with torch.inference_mode():
        own = model.transformer(torch.tensor([ids]))[0, -1].softmax(-1)
    row = last(patchscope(step_on(model, ids), prompt="abc", count=1)).rows[-1]
    assert [each.id for each in row.top] == own.topk(5).indices.tolist()
    assert [each.probability for each in row.top] == pytest.approx(own.topk(5).values.tolist(), abs=1e-6)


def test_the_stream_goes_where_the_question_mark_is(small: Small) -> None:
    """Into a layer of its own where that is asked; of a prompt that is too long the last tokens are used."""
    step = step_on(small("model5"), some_ids(4))
    answer = last(patchscope(step, prompt="a?b", into=1, count=1))
    assert (answer.position, answer.prompt, answer.note) == (1, (b"a", b"?", b"b"), "")
    assert {row.into for row in answer.rows} == {"block 0"}
    assert [row.name for row in answer.rows] == ["embedding", "block 0", "block 1"]
    long = last(patchscope(step, prompt=IDENTITY, count=3))
    assert long.note == f"only the last 4 of {len(IDENTITY.encode())} tokens fit into the context"
    assert b"".join(long.prompt).decode() == "?→"
    assert all("?" in prompt for prompt in PROMPTS)


def test_few_streams_go_through_the_model_at_once(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    step = step_on(small("model5"), some_ids(4))
    whole = last(patchscope(step, prompt="a?b"))
    monkeypatch.setattr("core.causal.patchscope.TOKENS", 3)
    answers = [each for each in patchscope(step, prompt="a?b") if isinstance(each, Patchscope)]
    assert [len(each.rows) for each in answers] == [1, 2, 3]
    for one, other in zip(answers[-1].rows, whole.rows, strict=True):
        assert one.generated == other.generated
        assert one.kl_bits == pytest.approx(other.kl_bits, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("model1", {}, "no blocks"),
        ("model5", {"prompt": ""}, "the target prompt is empty"),
        ("model5", {"into": 3}, r"from 0 to 2 \(the number of blocks\), not 3"),
        ("model5", {"into": -1}, r"from 0 to 2 \(the number of blocks\), not -1"),
    ],
)
def test_what_cannot_be_done_is_said(name: str, options: dict[str, Any], says: str, small: Small) -> None:
    with pytest.raises(UserError, match=says):
        list(patchscope(step_on(small(name), some_ids(3)), **options))


def test_no_hook_stays(small: Small) -> None:
    transformer: Transformer = small("model5").transformer
    for _ in patchscope(step_on(small("model5"), some_ids(3))):
        assert not any(each._forward_pre_hooks or each._forward_hooks for each in transformer.modules())
