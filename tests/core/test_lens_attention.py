"""The attention lens: patterns equal those of `transformers`, rows sum to 1, a note names what is left out."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from reference_models import reference
from steps import last, some_ids, step_on, wrapped

from core.errors import UserError
from core.lenses.attention import AttentionView, attention
from core.loading import description, weights
from core.loading.model import Model

Small = Callable[..., Model]


@pytest.mark.parametrize(
    "case",
    [
        "gpt2",
        "llama",
        "llama-one-kv-head-tied",
        "llama-scaled",
        "mistral",
        "mistral-window",
        "qwen2",
        "qwen3",
        "qwen3-layer-types",
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_patterns_equal_the_reference(case: str, known: bool, tmp_path: Path) -> None:
    """Every layer and head: each row of the pattern without masked weights, the last row, the summary."""
    expected_model = reference(case, vocab_size=257)
    expected_model.save_pretrained(tmp_path)
    expected_model.set_attn_implementation("eager")
    model = wrapped(weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32))
    ids = some_ids(9)
    with torch.inference_mode():
        expected = expected_model(torch.tensor([ids]), output_attentions=True).attentions
    step, config = step_on(model, ids, known=known), model.transformer.config
    for layer in range(config.blocks):
        for head in range(config.heads):
            view: AttentionView = last(attention(step, layer, head))
            expected_pattern = expected[layer][0, head]
            assert [len(row) for row in view.pattern] == list(range(1, 10))
            for position, row in enumerate(view.pattern):
                assert row == pytest.approx(expected_pattern[position, : position + 1].tolist(), abs=1e-5)
                assert sum(row) == pytest.approx(1, abs=1e-5)
            assert view.row == pytest.approx(expected_pattern[-1].tolist(), abs=1e-5)
            summary = view.heads[layer][head]
            assert summary.peak_weight == pytest.approx(max(view.row))
            assert view.row[summary.peak] == max(view.row)
            assert (summary.first, summary.own) == pytest.approx((view.row[0], view.row[-1]))
            exact = torch.tensor(view.row, dtype=torch.float64)
            assert summary.entropy_bits == pytest.approx(-(exact * exact.log2()).nansum().item(), abs=1e-4)
            assert view.difference < 1e-5
            assert view.before == pytest.approx([0.0] * 9)
            assert not view.note


@pytest.mark.parametrize("name", ["model3", "model5", "model6"])
def test_a_shorter_pattern_is_the_end_of_the_full_one(name: str, small: Small) -> None:
    """A pattern of the last three positions, and the weight they have before it."""
    step = step_on(small(name), some_ids(6))
    whole, part = last(attention(step)), last(attention(step, shown=3))
    assert (part.start, part.row) == (3, whole.row)
    for shown, before, row in zip(part.pattern, part.before, whole.pattern[3:], strict=True):
        assert shown == pytest.approx(row[3:], abs=1e-5)
        assert before == pytest.approx(sum(row[:3]), abs=1e-5)
        assert sum(shown) + before == pytest.approx(1, abs=1e-5)
    assert part.note == "the pattern shows the last 3 of 6 positions"


@pytest.mark.parametrize("size", [1, 3, 5, 12])
def test_pictures_keep_the_largest_weights_of_every_head(size: int, small: Small) -> None:
    """Against a loop over the pixels of the full patterns; a pixel covers the positions that its edges touch."""
    step = step_on(small("model5"), some_ids(6))
    pictures = last(attention(step, size=size)).pictures
    config = step.model.transformer.config
    assert [len(heads) for heads in pictures] == [config.heads] * config.blocks
    for layer in range(config.blocks):
        for head in range(config.heads):
            view = last(attention(step, layer, head))
            pattern = [[*row, *[0.0] * (6 - len(row))] for row in view.pattern]
            edges = [(n * 6 // size, -(-(n + 1) * 6 // size)) for n in range(size)]
            reduced = [[max(max(row[x:right]) for row in pattern[y:low]) for x, right in edges] for y, low in edges]
            expected = [round(255 * value / max(row)) for row in reduced for value in row]
            assert list(pictures[layer][head]) == pytest.approx(expected, abs=1)
            assert view.pictures == ()


def test_pictures_show_the_last_positions_as_the_pattern_does(small: Small) -> None:
    view = last(attention(step_on(small("model5"), some_ids(6)), shown=3, size=3))
    expected = [round(255 * value / max(row)) for row in view.pattern for value in [*row, *[0.0] * (3 - len(row))]]
    assert list(view.pictures[0][0]) == pytest.approx(expected, abs=1)


def test_the_row_is_answered_before_the_pattern(small: Small) -> None:
    answers = list(attention(step_on(small("model5"), some_ids(6))))
    assert [len(each.pattern) for each in answers] == [0, 6]
    assert answers[0].row == answers[1].row


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_text_longer_than_the_context_is_cut_to_its_window(dtype: str, small: Small) -> None:
    view = last(attention(step_on(small("model5", dtype), some_ids(15)), layer=1, head=2))
    assert (len(view.row), len(view.pattern), len(view.pieces)) == (6, 6, 6)
    assert sum(view.row) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["model1", "model2"])
def test_a_model_without_attention_is_a_user_error(name: str, small: Small) -> None:
    with pytest.raises(UserError, match=f"{name} has no attention; choose model3"):
        next(attention(step_on(small(name), some_ids(4))))


@pytest.mark.parametrize(
    ("layer", "head", "says"), [(2, 0, "numbered from 0 to 1"), (0, 3, "numbered from 0 to 2"), (-1, 0, "no layer")]
)
def test_an_unknown_layer_or_head_is_a_user_error(layer: int, head: int, says: str, small: Small) -> None:
    with pytest.raises(UserError, match=says):
        next(attention(step_on(small("model5"), some_ids(4)), layer, head))
