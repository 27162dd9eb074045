"""The contrast lens: its maps, estimates against TransformerLens, correlations by definition, and the tiny world."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from causal_models import AGAINST, CASES, CLEAN, CORRUPT, TARGET
from prompt_pairs import causal, pair_on, whole_map
from steps import last, step_on

from core.activations.apply import patched
from core.activations.patch import Patch
from core.activations.trace import Step, recording
from core.causal.attribution_patching import agreement
from core.causal.patching import MAPS
from core.causal.question import CausalQuestion
from core.errors import UserError
from core.lenses import contrast as module
from core.lenses.contrast import Contrast, contrast, table
from core.loading.choice import ModelChoice
from core.loading.models import load_model
from core.progress import Progress

FIGURES = Path(__file__).with_name("transformer_lens")
QUESTION = CausalQuestion(TARGET, AGAINST, corrupt=CORRUPT)


@pytest.mark.parametrize("case", CASES)
def test_estimates_equal_those_of_transformer_lens(case: str, tmp_path: Path) -> None:
    """And the exact maps are those of `core.causal.patching`."""
    model = causal(case, tmp_path)
    answer: Contrast = last(contrast(Step(model, CLEAN), QUESTION))
    recorded = json.loads((FIGURES / f"patching_{case}.json").read_text())
    pair = pair_on(model)
    for name in MAPS:
        found = torch.tensor(getattr(answer.estimated, name))
        wanted = torch.tensor(recorded["attribution"][name])
        assert (found - wanted).abs().max() < 1e-3 * max(1.0, wanted.abs().max().item()), name
        assert torch.allclose(torch.tensor(getattr(answer, name)), torch.tensor(whole_map(pair, name)), atol=1e-4)
    assert (answer.clean, answer.corrupt) == pytest.approx((recorded["clean"], recorded["corrupt"]), abs=1e-4)
    assert {each.map for each in answer.agreement} == set(MAPS)


def test_answers_become_complete_and_no_value_changes(small: Any) -> None:
    question = CausalQuestion(7, 20, corrupt=(65, 99, 67, 68))
    answers = list(contrast(step_on(small("model6"), (65, 66, 67, 68)), question, first="heads"))
    maps = [answer for answer in answers if not isinstance(answer, Progress)]
    assert maps[0].heads[0][0] is None
    assert [row[0] for row in maps[0].residual] == [0.0, 0.0]
    for before, after in pairwise(maps):
        for name in MAPS:
            for old, new in zip(getattr(before, name), getattr(after, name), strict=True):
                assert all(a is None or a == b for a, b in zip(old, new, strict=True))
    first = next(answer for answer in maps if answer.heads[0][0] is not None)
    assert first.residual[0][2] is None
    assert not any(value is None for name in MAPS for row in getattr(maps[-1], name) for value in row)
    progress = [answer for answer in answers if isinstance(answer, Progress)]
    assert progress[-1].done < progress[-1].total == 2 * (3 * 3 + 2)


def test_a_known_answer_is_taken_over_only_where_the_question_is_the_same(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = step_on(small("model6"), (65, 66, 67))
    question, other = (CausalQuestion(id, 20, corrupt=(65, 99, 67)) for id in (7, 8))
    known = last(contrast(step, question))
    monkeypatch.setattr(module, "patched_measures", None)  # nothing is left to compute
    assert last(contrast(step, question, first="mlp", known=known)) == known
    with pytest.raises(TypeError):
        last(contrast(step, other, known=known))


def test_a_row_of_the_table_for_each_cell(small: Any) -> None:
    answer = last(contrast(step_on(small("model6"), (65, 66, 67)), CausalQuestion(7, 20, corrupt=(65, 99, 67))))
    rows = table(answer).rows
    assert len(rows) == 2 * (3 * 3 + 2)
    assert rows[1][:5] == ("residual", 0, 1, "B", answer.residual[0][1])
    assert rows[-1][:5] == ("heads", 1, 1, None, answer.heads[1][1])


def test_without_a_corrupt_prompt_it_says_what_it_needs(small: Any) -> None:
    with pytest.raises(UserError, match="needs a second prompt, the corrupt one"):
        last(contrast(step_on(small("model6"), (65, 66, 67))))
    with pytest.raises(UserError, match="'rows' is not a map; choose one of residual, attention, mlp, heads"):
        last(contrast(step_on(small("model6"), (65, 66, 67)), first="rows"))  # type: ignore[arg-type]


# Correlations --------------------------------------------------------------------------------------------------------


def test_correlations_by_definition() -> None:
    """Pearson's r of numbers and of their ranks: y = x³ has the same order as x; a tie shares its rank."""
    exact = ((0.0, 1.0, 2.0, 3.0), (4.0, 5.0, 6.0, 7.0))
    cubes = tuple(tuple(x**3 for x in row) for row in exact)
    found = agreement("residual", exact, cubes, first=1)
    x = torch.tensor([1.0, 2, 3, 5, 6, 7], dtype=torch.float64)
    assert found.pearson == pytest.approx(torch.corrcoef(torch.stack((x, x**3)))[0, 1].item())
    assert found.spearman == pytest.approx(1)
    tied = agreement("heads", ((1.0, 2.0, 2.0, 3.0),), ((1.0, 3.0, 2.0, 4.0),), first=0)
    ranks = torch.tensor([[1.0, 2.5, 2.5, 4], [1, 3, 2, 4]], dtype=torch.float64)
    assert tied.spearman == pytest.approx(torch.corrcoef(ranks)[0, 1].item())


def test_no_correlation_where_nothing_varies() -> None:
    found = agreement("heads", ((1.0, 1.0, 1.0),), ((1.0, 2.0, 3.0),), first=0)
    assert (found.pearson, found.spearman) == (None, None)
    assert agreement("heads", ((1.0, None, 2.0),), ((1.0, 2.0, 3.0),), first=0).pearson is None


# The tiny world ------------------------------------------------------------------------------------------------------


def test_the_heads_that_copy_the_name_are_found() -> None:
    """The person who gave is thanked: the name is copied from position 0 by heads that attend there."""
    model = load_model(ModelChoice(name="model6-trained", device="cpu"))
    clean, corrupt = (model.tokenizer.encode(f"{name} gave Ben a book. Ben thanked") for name in ("Anna", "Emma"))
    anna, emma = (model.tokenizer.encode(f"Ben thanked {name}")[-1] for name in ("Anna", "Emma"))
    question = CausalQuestion(anna, emma, corrupt=tuple(corrupt))
    answer = last(contrast(Step(model, tuple(clean)), question))
    assert answer.clean > 3 > -3 > answer.corrupt
    assert answer.residual[0][0] == pytest.approx(1, abs=1e-4)  # only the first token differs
    assert answer.attention[-1][-1] == pytest.approx(1, abs=0.1)  # which attention of the last block copies to the end
    by_head = {(layer, head): value for layer, row in enumerate(answer.heads) for head, value in enumerate(row)}
    strongest = sorted(by_head, key=lambda head: -(by_head[head] or 0))[:2]
    with recording(model.transformer) as trace, torch.inference_mode():
        model.transformer(torch.tensor([clean]))
    for layer, head in strongest:
        attend: Any = model.transformer.get_submodule(f"blocks.{layer}.attention.attend")
        q, k, _ = trace.inputs[f"blocks.{layer}.attention.attend"]
        weights = attend.weights(q, k)[0, head, -1]
        assert weights.argmax() == 0
        assert weights[0] > 0.8
    heads = [Patch(part="head", layer=layer, index=head) for layer, head in strongest]
    with patched(model, heads), torch.inference_mode():
        logits = model.transformer(torch.tensor([clean, corrupt]))[:, -1]
    without = logits[:, anna] - logits[:, emma]
    assert abs(without[0] - without[1]) < 0.3 * (answer.clean - answer.corrupt)  # no other path carries the name
