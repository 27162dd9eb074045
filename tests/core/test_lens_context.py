"""The context lens against a forward pass over each prefix alone, in float64."""

from collections.abc import Callable

import pytest
import torch
from steps import RUNGS, last, some_ids, step_on

from core.lenses.context import ContextTable, context
from core.loading.model import Model

Small = Callable[..., Model]


@pytest.mark.parametrize("name", RUNGS)
@pytest.mark.parametrize("known", [True, False])
def test_each_row_equals_a_pass_over_its_prefix(name: str, known: bool, small: Small) -> None:
    """Entropy, effective number, 90 % of the mass, likeliest tokens and the token that came, from a float64 softmax."""
    model, ids = small(name), some_ids(6)
    table: ContextTable = last(context(step_on(model, ids, target=11, known=known), count=4))
    assert (len(table.rows), table.total, table.start, table.note) == (6, 6, 0, "")
    for length, row in enumerate(table.rows, start=1):
        with torch.inference_mode():
            probabilities = model.transformer(torch.tensor([ids[:length]]))[0, -1].double().softmax(-1)
        entropy = -(probabilities * probabilities.log2()).sum().item()
        assert row.entropy_bits == pytest.approx(entropy, abs=1e-5)
        assert row.effective == pytest.approx(2**entropy, rel=1e-4)
        ordered = probabilities.sort(descending=True).values
        assert row.mass90 == int((ordered.cumsum(0) < 0.9).sum()) + 1
        assert [each.probability for each in row.top] == pytest.approx(ordered[:4].tolist(), rel=1e-4)
        follows = (*ids, 11)[length]
        assert row.came and row.came.id == follows
        assert row.came.probability == pytest.approx(probabilities[follows].item(), rel=1e-4)
        assert row.piece == model.tokenizer.piece(ids[length - 1])


def test_only_the_longest_prefixes_of_a_long_text_are_measured(small: Small) -> None:
    """With a filled and an empty cache, and for a text longer than the context."""
    model, ids = small("model5"), some_ids(6)
    whole = last(context(step_on(model, ids)))
    for known in (True, False):
        part = last(context(step_on(model, ids, known=known), last=2))
        assert (part.start, part.total, part.note) == (4, 2, "the last 2 of 6 prefixes")
        for row, expected in zip(part.rows, whole.rows[4:], strict=True):
            assert row.entropy_bits == pytest.approx(expected.entropy_bits, abs=1e-5)
    assert whole.rows[-1].came is None
    assert len(last(context(step_on(model, some_ids(15)))).rows) == 6
