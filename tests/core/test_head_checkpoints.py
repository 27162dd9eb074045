"""Scores of heads over checkpoints equal those that the training reported."""

from dataclasses import astuple, replace
from pathlib import Path

import pytest
import torch

from core.causal.head_checkpoints import head_checkpoints, names_of, table
from core.causal.heads import head_moment
from core.errors import UserError
from core.loading.checkpoints import folders
from core.loading.checkpoints.recipe import Recipe
from core.loading.choice import Hyperparameters, ModelChoice
from core.progress import Progress
from core.training.events import Evaluated
from core.training.training import Training

CPU = ModelChoice(device="cpu")
BYTES = replace(CPU, tokenizer="bytes")


def test_the_scores_of_each_checkpoint_are_those_of_its_evaluation(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All checkpoints of a training by its name, in order, or one by its own; also after it was resumed."""
    monkeypatch.setattr(folders, "home", lambda: tmp_path)
    recipe = replace(recipe, rung="model5", changes=Hyperparameters(context=16, blocks=2, heads=2), steps=6, every=2)
    cpu = torch.device("cpu")
    told: dict[int, Evaluated] = {}
    for training in (Training(recipe, tmp_path / "run", cpu, observe=head_moment), None):
        for event in (training or Training.resumed(tmp_path / "run", cpu, head_moment)).run():
            if isinstance(event, Evaluated):
                told[event.step] = event
                if training and event.step == 2:
                    break
    answers = [each for each in head_checkpoints(["run"], CPU) if not isinstance(each, Progress)]
    assert [len(answer) for answer in answers] == [1, 2, 3, 4]
    assert [each.name for each in answers[-1]] == names_of("run") == ["run@0", "run@2", "run@4", "run@6"]
    for each in answers[-1]:
        assert each.step is not None
        moment = told[each.step].heads
        assert moment is not None
        assert torch.allclose(
            torch.tensor((each.previous, each.induction, each.copied)), torch.tensor(astuple(moment)), atol=1e-6
        )
    rows = table(answers[-1]).rows
    assert len(rows) == 4 * 2 * 2
    assert rows[-1] == ("run@6", 6, 1, 1, *(grid[1][1] for grid in astuple(answers[-1][-1])[2:]))


def test_what_cannot_be_compared_is_refused_in_one_line() -> None:
    for names, choice, words in (
        (["model1"], BYTES, "no attention heads"),
        (["model1-trained"], CPU, "no attention heads"),
        (["model5-trained", "model3-trained"], CPU, "choose checkpoints of one model"),
        (["http://localhost:1"], CPU, "does not send its attention"),
    ):
        with pytest.raises(UserError, match=words):
            list(head_checkpoints(names, choice))


def test_copied_is_unknown_without_a_text_of_the_training() -> None:
    *_, answer, _ = head_checkpoints(["model3"], BYTES)
    assert not isinstance(answer, Progress)
    assert answer[0].step is None and answer[0].copied == ((None,),)
    assert 0 < answer[0].previous[0][0] < 1
