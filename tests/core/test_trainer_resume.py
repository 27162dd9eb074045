"""A training that is stopped and resumed, its checkpoints, and training in two processes."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from forked_python import PATIENCE, ForkedPython
from trainings import CPU, events_of, only, trainer_of

from core.errors import UserError
from core.loading.checkpoints import checkpoint, folders
from core.loading.checkpoints.folders import LATEST, STEP
from core.loading.checkpoints.recipe import Recipe
from core.training import training as training_module
from core.training.events import Begun, CheckpointSaved, Ended, Evaluated, Event, Stepped
from core.training.training import Training

# Stop and resume ------------------------------------------------------------------------------------------------------


def state(folder: Path) -> dict[str, Any]:
    """The card and all tensors of the latest checkpoint, without the version of the program."""
    latest = checkpoint.read_checkpoint(folder / LATEST)
    return {"card": replace(latest.card, program="")} | {name: t.tolist() for name, t in latest.tensors.items()}


STOPS: list[tuple[list[int], type[Any]]] = [
    ([1, 2, 3], Stepped),
    ([5], Stepped),
    ([7, 8], Stepped),
    ([0, 5, 10], Evaluated),
    ([0, 5], CheckpointSaved),
    ([12], Stepped),
    ([12], Evaluated),
]


@pytest.mark.parametrize(("stops", "kind"), STOPS, ids=lambda each: getattr(each, "__name__", str(each)))
def test_a_resumed_training_equals_one_that_was_not_stopped(
    recipe: Recipe, tmp_path: Path, stops: list[int], kind: type[Any]
) -> None:
    """Weights, moments and losses have the same bits, however often it was stopped."""
    whole = events_of(Training(recipe, tmp_path / "whole", CPU))
    parts: list[Event] = []
    for stop in stops:
        parts += events_of(Training(recipe, tmp_path / "parts", CPU), stop, kind)
    parts += events_of(
        Training.resumed(tmp_path / "parts", CPU)
        if (tmp_path / "parts").exists()
        else Training(recipe, tmp_path / "parts", CPU)
    )
    assert state(tmp_path / "parts") == state(tmp_path / "whole")
    assert [[step for step, _ in folders.steps(tmp_path / each)] for each in ("parts", "whole")] == [[0, 5, 10, 12]] * 2
    by_step = {event.step: event.loss for event in parts if isinstance(event, Stepped)}
    assert by_step == {event.step: event.loss for event in whole if isinstance(event, Stepped)}
    evaluations = {event.step: event for event in parts if isinstance(event, Evaluated)}
    assert evaluations == {event.step: event for event in whole if isinstance(event, Evaluated)}


def test_a_training_can_be_resumed_in_the_same_process(recipe: Recipe, tmp_path: Path) -> None:
    """The trainer is kept, so nothing is read again."""
    events_of(Training(recipe, tmp_path / "whole", CPU))
    training = Training(recipe, tmp_path / "parts", CPU)
    events_of(training, 4)
    before = training.trainer
    events_of(training)
    assert training.trainer is before
    assert state(tmp_path / "parts") == state(tmp_path / "whole")


def test_a_training_that_was_stopped_before_its_first_step_begins_again(recipe: Recipe, tmp_path: Path) -> None:
    """Stopped at its first event it leaves no file; stopped after its first evaluation it resumes from step 0."""
    (tmp_path / "empty").mkdir()
    events_of(Training(recipe, tmp_path / "empty", CPU), 0, Begun)
    assert [*(tmp_path / "empty").iterdir()] == []
    events_of(Training(recipe, tmp_path / "a", CPU), 0, CheckpointSaved)
    begun, *_, end = events_of(Training.resumed(tmp_path / "a", CPU))
    assert isinstance(begun, Begun)
    assert (begun.step, end) == (0, Ended(12))


def test_a_finished_training_ends_at_once_when_resumed(recipe: Recipe, tmp_path: Path) -> None:
    events_of(Training(recipe, tmp_path / "a", CPU))
    before = state(tmp_path / "a")
    begun, end = events_of(Training.resumed(tmp_path / "a", CPU))
    assert isinstance(begun, Begun)
    assert (begun.step, end) == (12, Ended(12))
    assert state(tmp_path / "a") == before


def test_the_same_recipe_gives_the_same_weights(recipe: Recipe, tmp_path: Path) -> None:
    """Two trainings with one recipe have the same bits; another seed gives other ones."""
    for name in ("a", "b"):
        events_of(Training(recipe, tmp_path / name, CPU))
    assert state(tmp_path / "a") == state(tmp_path / "b")
    events_of(Training(replace(recipe, seed=1), tmp_path / "c", CPU))
    assert state(tmp_path / "c") != state(tmp_path / "a")


def refusal(training: Training) -> str:
    """The text of the error of a training that cannot run."""
    with pytest.raises(UserError) as error:
        events_of(training)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_a_training_that_cannot_be_resumed_is_a_user_error(recipe: Recipe, tmp_path: Path, story: Path) -> None:
    """Another recipe, a changed or missing text, no optimizer state, an empty folder, another kind of file."""
    text, folder = tmp_path / "own.txt", tmp_path / "a"
    text.write_bytes(story.read_bytes())
    recipe = replace(recipe, text=str(text))
    events_of(Training(recipe, folder, CPU), 7)
    assert "other settings" in refusal(Training(replace(recipe, lr=0.1), folder, CPU))
    text.write_bytes(story.read_bytes() + b"More.")
    assert "has changed" in refusal(Training.resumed(folder, CPU))
    text.unlink()
    assert "no text file" in refusal(Training.resumed(folder, CPU))
    text.write_bytes(story.read_bytes())
    (folder / LATEST).write_bytes((folder / STEP.format(5)).read_bytes())
    assert "has no optimizer state" in refusal(Training.resumed(folder, CPU))
    with pytest.raises(UserError, match="no training to resume"):
        Training.resumed(tmp_path / "none", CPU)
    (folder / LATEST).write_bytes(b"{}" * 50)
    with pytest.raises(UserError, match="safetensors"):
        Training.resumed(folder, CPU)


def test_a_folder_that_cannot_be_made_is_a_user_error(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "cannot be created" in refusal(Training(recipe, tmp_path / "file" / "a", CPU))


# Checkpoints ----------------------------------------------------------------------------------------------------------


def test_each_evaluation_has_a_checkpoint(recipe: Recipe, tmp_path: Path) -> None:
    """There is also a latest one to resume from. Each card has the losses up to its step."""
    seen = events_of(Training(recipe, tmp_path / "a", CPU, "tokenwalk train"))
    evaluations = only(iter(seen), Evaluated)
    checkpoints = folders.steps(tmp_path / "a")
    assert [step for step, _ in checkpoints] == [event.step for event in evaluations] == [0, 5, 10, 12]
    assert [(event.step, event.path) for event in only(iter(seen), CheckpointSaved)] == checkpoints
    for n, (step, path) in enumerate(checkpoints):
        saved = checkpoint.read_checkpoint(path)
        assert not saved.moments
        assert saved.card.losses == tuple((event.step, event.loss) for event in evaluations[: n + 1])
        assert (saved.card.step, saved.card.loss) == (step, evaluations[n].loss)
        assert (saved.card.corpus, saved.card.command, saved.card.floors) == ("story.txt", "tokenwalk train", None)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        LATEST,
        *(STEP.format(step) for step, _ in checkpoints),
    }


def test_surplus_checkpoints_are_deleted(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first and the last stay, and those between are spread out, up to a number and a size in bytes."""
    monkeypatch.setattr(training_module, "MAX_CHECKPOINTS", 5)
    events_of(Training(replace(recipe, steps=20, every=1), tmp_path / "a", CPU))
    saved = [step for step, _ in folders.steps(tmp_path / "a")]
    assert (len(saved), saved[0], saved[-1]) == (5, 0, 20)
    gaps = [after - before for before, after in pairwise(saved)]
    assert max(gaps) <= 10
    monkeypatch.setattr(training_module, "MAX_BYTES", 1)
    events_of(Training(replace(recipe, steps=6, every=2), tmp_path / "b", CPU))
    assert [step for step, _ in folders.steps(tmp_path / "b")] == [0, 6]


# Distributed training -------------------------------------------------------------------------------------------------


def test_two_processes_train_as_one(recipe: Recipe, story: Path, tmp_path: Path) -> None:
    """Each takes half of every batch. Losses are within 1e-5 of one process's; rank 0 alone writes and prints."""
    arguments = [
        "-m", "tui", "train", "-m", "model5", "--text", str(story), "--tokenizer", "bytes", "-n", "12", "--batch", "4",
        "--every", "5", "--embed-dim", "16", "--context", "12", "--blocks", "2", "--warmup", "3", "--device", "cpu",
        "--json", "--out", str(tmp_path / "two"),
    ]  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        ForkedPython(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=group | {"WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": rank},  # as `torchrun` sets them
        )
        for rank in ("0", "1")
    ]
    (out, error), other = [process.communicate(timeout=PATIENCE) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], (error, other)
    assert other == (b"", b"")
    two = [json.loads(line) for line in out.splitlines()]
    one = events_of(Training(recipe, tmp_path / "one", CPU))
    names = {Begun: "begun", Stepped: "step", Evaluated: "measured", CheckpointSaved: "saved", Ended: "ended"}
    assert [event["event"] for event in two] == [names[type(event)] for event in one]
    for here, there in zip(one, two, strict=True):
        if isinstance(here, Stepped | Evaluated):
            assert there["loss"] == pytest.approx(here.loss, abs=1e-5)
        if isinstance(here, Stepped):
            assert there["grad_norm"] == pytest.approx(here.grad_norm, rel=1e-4)
    saved = [checkpoint.read_checkpoint(tmp_path / name / LATEST) for name in ("one", "two")]
    assert saved[0].card.recipe == saved[1].card.recipe
    for name, tensor in saved[0].tensors.items():
        if name.startswith(checkpoint.WEIGHTS) and not name.endswith(
            "qkv.bias"
        ):  # biases of keys do not change softmax
            assert torch.allclose(tensor, saved[1].tensors[name], atol=1e-3), name


def test_a_batch_that_cannot_be_divided_among_processes_is_a_user_error(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    with pytest.raises(UserError, match="a batch of 4 cannot be divided among 3"):
        trainer_of(recipe)
