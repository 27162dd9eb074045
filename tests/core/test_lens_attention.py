"""Patterns are transformers' own, each row sums to 1, and what is left out is said."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from steps import last, some_ids, step_on, wrapped
from test_families import reference

from core.errors import UserError
from core.lenses.attention import AttentionView, attention
from core.loading import description, weights
from core.loading.models import Model

Small = Callable[..., Model]


@pytest.mark.parametrize(
    "case", ["gpt2", "llama", "llama-one-kv-head-tied", "llama-scaled", "mistral", "qwen2", "qwen3"]
)
@pytest.mark.parametrize("known", [True, False])
def test_patterns_are_the_references(case: str, known: bool, tmp_path: Path) -> None:
    """Every layer and head: the pattern row by row, the row of the last position, the mask as what is not there."""
    theirs = reference(case, vocab_size=257)
    theirs.save_pretrained(tmp_path)
    theirs.set_attn_implementation("eager")
    model = wrapped(weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32))
    ids = some_ids(9)
    with torch.inference_mode():
        want = theirs(torch.tensor([ids]), output_attentions=True).attentions
    step, config = step_on(model, ids, known=known), model.transformer.config
    for layer in range(config.blocks):
        for head in range(config.heads):
            found: AttentionView = last(attention(step, layer, head))
            their_pattern = want[layer][0, head]
            assert [len(row) for row in found.pattern] == list(range(1, 10))
            for place, row in enumerate(found.pattern):
                assert row == pytest.approx(their_pattern[place, : place + 1].tolist(), abs=1e-5)
                assert sum(row) == pytest.approx(1, abs=1e-5)
            assert found.row == pytest.approx(their_pattern[-1].tolist(), abs=1e-5)
            brief = found.heads[layer][head]
            assert brief.peak_weight == pytest.approx(max(found.row))
            assert found.row[brief.peak] == max(found.row)
            assert (brief.first, brief.own) == pytest.approx((found.row[0], found.row[-1]))
            exact = torch.tensor(found.row, dtype=torch.float64)
            assert brief.entropy_bits == pytest.approx(-(exact * exact.log2()).sum().item(), abs=1e-4)
            assert found.difference < 1e-5
            assert found.before == pytest.approx([0.0] * 9)
            assert not found.note


@pytest.mark.parametrize("name", ["model3", "model5", "model6"])
def test_what_is_shown_is_the_end_of_the_whole(name: str, small: Small) -> None:
    """A pattern of the last three positions, and how much they look before it."""
    step = step_on(small(name), some_ids(6))
    whole, part = last(attention(step)), last(attention(step, shown=3))
    assert (part.start, part.row) == (3, whole.row)
    for shown, before, row in zip(part.pattern, part.before, whole.pattern[3:], strict=True):
        assert shown == pytest.approx(row[3:], abs=1e-5)
        assert before == pytest.approx(sum(row[:3]), abs=1e-5)
        assert sum(shown) + before == pytest.approx(1, abs=1e-5)
    assert part.note == "the pattern shows the last 3 of 6 positions"


def test_the_row_comes_before_the_pattern(small: Small) -> None:
    answers = list(attention(step_on(small("model5"), some_ids(6))))
    assert [len(each.pattern) for each in answers] == [0, 6]
    assert answers[0].row == answers[1].row


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_beyond_the_context_the_window_is_shown(dtype: str, small: Small) -> None:
    found = last(attention(step_on(small("model5", dtype), some_ids(15)), layer=1, head=2))
    assert (len(found.row), len(found.pattern), len(found.pieces)) == (6, 6, 6)
    assert sum(found.row) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["model1", "model2"])
def test_without_attention_there_is_nothing_to_see(name: str, small: Small) -> None:
    with pytest.raises(UserError, match=f"{name} has no attention; it begins at model3"):
        next(attention(step_on(small(name), some_ids(4))))


@pytest.mark.parametrize(
    ("layer", "head", "says"), [(2, 0, "layers 0 to 1"), (0, 3, "heads 0 to 2"), (-1, 0, "no layer")]
)
def test_a_head_that_is_not_there(layer: int, head: int, says: str, small: Small) -> None:
    with pytest.raises(UserError, match=says):
        next(attention(step_on(small("model5"), some_ids(4)), layer, head))
