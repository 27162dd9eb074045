"""`tokenwalk train` and `tokenwalk world`: their JSON, their text and their errors."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from forked_python import ForkedPython

from core.loading import tokenizers
from core.loading.checkpoints import card, checkpoint, folders
from core.loading.checkpoints.folders import LATEST
from core.loading.checkpoints.recipe import Recipe
from core.training import quality, shipped, text, trainer
from core.training.dataset import REFERENCE
from core.world import tiny

Here = Callable[..., subprocess.CompletedProcess[bytes]]
SMALL = (
    "-m", "model3", "--embed-dim", "16", "--context", "8", "-n", "6", "--batch", "2", "--every", "3", "--warmup", "2",
    "--tokenizer", "bytes", "--device", "cpu",
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of trainings, in a temporary folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "tokenwalk" / "trained"


@pytest.fixture
def story(tmp_path: Path) -> Path:
    path = tmp_path / "A story.txt"
    path.write_text(REFERENCE)
    return path


def json_lines(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    assert (done.returncode, done.stderr) == (0, b"")
    return [json.loads(line, parse_constant=pytest.fail) for line in done.stdout.splitlines()]


def error_line(done: subprocess.CompletedProcess[bytes]) -> str:
    """The error of a refused command: exit code 2, nothing on standard output, one printable line."""
    error = done.stderr.decode()
    assert (done.returncode, done.stdout) == (2, b""), error
    assert error.startswith("tokenwalk: ")
    assert error.count("\n") == 1
    assert error[:-1].isprintable()
    return error


# train ---------------------------------------------------------------------------------------------------------------


def test_json_has_every_event(run_here: Here, story: Path, home: Path) -> None:
    """The events have exactly these fields and come in this order."""
    events = json_lines(run_here("train", *SMALL, "--text", str(story), "--probe", "The", "--json"))
    names = [event.pop("event") for event in events]
    assert names == ["begun", *["measured", "saved"], *["step", "step", "step", "measured", "saved"] * 2, "ended"]
    fields = {
        "begun": {"title", "corpus", "parameters", "vocab_size", "context", "steps", "ln_v", "floors", "step"},
        "step": {"step", "loss", "lr", "grad_norm", "tokens_per_second", "seconds_left"},
        "measured": {"step", "loss", "sample", "top", "divergence_bits", "heads"},
        "saved": {"step", "path"},
        "ended": {"step", "problem"},
    }
    assert all(event.keys() == fields[name] for name, event in zip(names, events, strict=True))
    begun = events[0]
    assert (begun["corpus"], begun["vocab_size"], begun["context"], begun["floors"]) == ("A story.txt", 257, 8, None)
    assert begun["title"] == "model3 · one attention head"
    assert events[-1] == {"step": 6, "problem": ""}
    measured = [event for name, event in zip(names, events, strict=True) if name == "measured"]
    assert [event["step"] for event in measured] == [0, 3, 6]
    assert [len(event["top"]) for event in measured] == [12] * 3
    folder = home / "model3-a-story"
    assert [Path(event["path"]) for name, event in zip(names, events, strict=True) if name == "saved"] == [
        path for _, path in folders.steps(folder)
    ]
    found = card.read_card(folder / LATEST)
    assert found and found.losses == tuple((event["step"], event["loss"]) for event in measured)


def test_the_command_on_the_card_makes_the_same_checkpoint_again(run_here: Here, story: Path, home: Path) -> None:
    """It can be pasted into a shell and ends with the same weights."""
    json_lines(
        run_here("train", *SMALL, "--text", str(story), "--probe", 'it\'s\n"oat" milk', "--json", "--out", "one")
    )
    first = card.read_card(home / "one" / LATEST)
    assert first
    program, command, *arguments = shlex.split(first.command)
    assert (program, command) == ("tokenwalk", "train")
    json_lines(run_here("train", *arguments, "--device", "cpu", "--json", "--out", "two"))
    second = card.read_card(home / "two" / LATEST)
    assert second == first


def test_text_output_is_a_table(run_here: Here, story: Path) -> None:
    """The model and its text, the losses to compare with, one line per evaluation with the losses of the JSON."""
    arguments = ("train", *SMALL, "--text", str(story))
    done = run_here(*arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    first, guessing, legend, head, *rows, last = done.stdout.decode().splitlines()
    assert first == "training model3 · one attention head on A story.txt: 5,360 parameters, V 257, T 8"
    assert guessing.split() == ["5.5491", "nats", "a", "uniform", "guess,", "ln", "V"]
    assert legend == "losses of the batch and of the validation text, nats per token:"
    assert head.split()[:3] == ["step", "batch", "validation"]
    assert last == "finished 6 steps"
    events = json_lines(run_here(*arguments, "--json"))
    measured = [event for event in events if event["event"] == "measured"]
    assert [int(row.split()[0]) for row in rows] == [0, 3, 6]
    assert rows[0].split()[1] == f"{measured[0]['loss']:.3f}"
    assert [row.split()[2] for row in rows[1:]] == [f"{event['loss']:.3f}" for event in measured[1:]]
    assert all(line.isprintable() for line in done.stdout.decode().splitlines())


def test_the_tiny_world_has_known_lowest_losses(run_here: Here) -> None:
    """The JSON has them, and the tokenizer is that of the tiny world."""
    events = json_lines(run_here("train", "-m", "model1", "-n", "1", "--batch", "4", "--device", "cpu", "--json"))
    floors = tiny.automaton().floors()
    assert events[0]["floors"] == {
        "unigram": floors.unigram,
        "last_token": floors.last_token,
        "context": floors.context,
    }
    assert (events[0]["corpus"], events[0]["vocab_size"]) == (
        "the tiny world",
        tokenizers.load_tokenizer("world").vocab_size,
    )


def test_a_trained_rung_can_be_chosen_as_a_model(run_here: Here, story: Path, home: Path) -> None:
    """It is listed under its name and generates with its own tokenizer."""
    json_lines(run_here("train", *SMALL, "--text", str(story), "--out", "mine", "--json"))
    offers = {line["name"]: line for line in json_lines(run_here("models", "--json"))}
    found = card.read_card(home / "mine" / LATEST)
    assert found
    assert (offers["mine"]["words"], offers["mine"]["problem"]) == (found.origin, None)
    assert offers.keys() > {*folders.SHIPPED, "model1"}
    first, *steps, last = json_lines(run_here("generate", "oat", "-m", "mine", "-n", "3", "--greedy", "--json"))
    assert (first["model"], first["vocab_size"], first["prompt_ids"]) == ("mine", 257, list(b"oat"))
    assert (len(steps), last["reason"]) == (3, "length")
    (other,) = json_lines(run_here("next", "oat", "-m", str(home / "mine" / LATEST), "-k", "3", "--json"))
    assert [each["id"] for each in other["top"]] == [each["id"] for each in steps[0]["top"][:3]]


def test_out_is_a_name_or_a_folder(
    run_here: Here, story: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it a free name; a relative or absolute path is used as it is."""
    monkeypatch.chdir(tmp_path)
    arguments = ("train", *SMALL, "--text", str(story), "-n", "1", "--json")
    for out in ((), (), ("--out", "mine"), ("--out", "./here/mine"), ("--out", str(tmp_path / "there"))):
        json_lines(run_here(*arguments, *out))
    assert sorted(path.name for path in home.iterdir()) == ["mine", "model3-a-story", "model3-a-story-2"]
    assert (tmp_path / "here" / "mine" / LATEST).is_file()
    assert (tmp_path / "there" / LATEST).is_file()


def test_a_stopped_training_can_be_resumed(
    run_here: Here, story: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends after the running step and prints how to resume; the result equals that of one run."""
    arguments = ("train", *SMALL, "--text", str(story), "--json")
    whole = json_lines(run_here(*arguments, "--out", "whole"))
    step = trainer.Trainer._step

    def interrupted(self: trainer.Trainer, lr: float) -> tuple[float, float]:
        done = step(self, lr)
        if self.step == 4:
            signal.raise_signal(signal.SIGINT)
        return done

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_step", interrupted)
        stopped = run_here(*arguments, "--out", "my rung")
    assert stopped.returncode == 130
    assert stopped.stderr == b"stopped after step 4; tokenwalk train --resume 'my rung' continues\n"
    before = [json.loads(line) for line in stopped.stdout.splitlines()]
    assert [event["step"] for event in before if event["event"] == "step"] == [1, 2, 3, 4]
    after = json_lines(run_here("train", "--resume", "my rung", "--device", "cpu", "--json"))
    assert (after[0]["event"], after[0]["step"]) == ("begun", 4)
    losses = [
        {event["step"]: event["loss"] for event in each if event["event"] == "step"} for each in (before + after, whole)
    ]
    assert losses[0] == losses[1]
    one, two = (checkpoint.read_checkpoint(home / name / LATEST) for name in ("whole", "my rung"))
    assert one.card.weights_sha256 == two.card.weights_sha256
    assert one.card.losses == two.card.losses


@pytest.mark.parametrize("where", ["corpus", "ladder"])
def test_without_a_checkpoint_nothing_is_said_of_resuming(
    run_here: Here, story: Path, home: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Ctrl-C while the text is read, or at the start of the ladder: there is nothing to resume."""
    if where == "corpus":
        whole = text.read_text

        def slow(recipe: Recipe) -> Any:
            for event in whole(recipe):
                signal.raise_signal(signal.SIGINT)
                yield event

        monkeypatch.setattr(text, "read_text", slow)
        done = run_here("train", *SMALL, "--text", str(story), "--json")
    else:
        small = Recipe(rung="model1", text=str(story), vocabulary="bytes", steps=3, batch=2)

        def at_once(_: str) -> Recipe:
            signal.raise_signal(signal.SIGINT)
            return small

        monkeypatch.setattr(shipped, "recipe", at_once)
        done = run_here("train", "--ladder", "--out", str(home / "ladder"), "--json")
    assert done.returncode == 130
    assert done.stderr == b"stopped after step 0\n"


def test_ctrl_c_of_a_real_process_leaves_a_checkpoint(story: Path, home: Path) -> None:
    """A real interrupt; the checkpoint holds the last step that was printed, or a later one."""
    command = [sys.executable, "-m", "tui", "train", *SMALL, "--text", str(story), "-n", "100000000", "--json"]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    with ForkedPython(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=alone) as process:
        assert process.stdout and process.stderr
        begun = [process.stdout.readline() for _ in range(20)]
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read().splitlines()
        error = process.stderr.read().decode()
        assert process.wait(30) == 130
    last = json.loads([*begun, *rest][-1])
    found = checkpoint.read_checkpoint(home / "model3-a-story" / LATEST)
    assert found.moments
    assert found.card.step >= last["step"] >= 10
    assert error == f"stopped after step {found.card.step:,}; tokenwalk train --resume model3-a-story continues\n"


def test_a_diverging_training_is_one_error_line(run_here: Here, story: Path, home: Path) -> None:
    """It names the step and the option to change; the last good checkpoint stays."""
    arguments = ("train", *SMALL, "--text", str(story), "--out", "mine", "--json", "--decay", "0", "--warmup", "0")
    done = run_here(*arguments, "--lr", "1e30", "--every", "1")
    assert done.returncode == 2
    error = done.stderr.decode()
    assert error.count("\n") == 1
    for word in ("tokenwalk: ", "at step", "1e+30", "--lr", "the last checkpoint is kept"):
        assert word in error
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "ended"
    saved = checkpoint.read_checkpoint(home / "mine" / LATEST)
    assert dict(saved.card.losses)[saved.card.step] == saved.card.loss


def test_ladder_trains_every_rung(run_here: Here, story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rung by its own recipe into one folder, with weights in 16 bits."""
    small = Recipe(text=str(story), vocabulary="bytes", steps=1, batch=2, every=1)
    monkeypatch.setattr(shipped, "recipe", lambda rung: replace(small, rung=rung))
    events = json_lines(run_here("train", "--ladder", "--out", str(tmp_path / "ladder"), "--json"))
    assert [event["event"] for event in events].count("begun") == 6
    assert sorted(path.stem for path in (tmp_path / "ladder").iterdir()) == sorted(folders.SHIPPED)
    for path in (tmp_path / "ladder").iterdir():
        found = checkpoint.read_checkpoint(path)
        assert f"{found.card.recipe.rung}-trained" == path.stem
        assert found.card.command == "tokenwalk train --ladder"
        assert {str(tensor.dtype) for tensor in found.tensors.values()} == {"torch.float16"}


def test_a_user_error_of_train_is_one_line(run_here: Here, story: Path, home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "latin.txt").write_bytes(b"ol\xe9" * 99)
    (home / "taken").mkdir(parents=True)
    (home / "taken" / "thing").write_text("x")
    own_text = ("--text", str(story))
    for arguments, wanted in (
        (("--out", "taken", *own_text), "exists already"),
        (("--out", "model1", *own_text), "--out cannot be"),
        (("--out", "model1-trained", *own_text), "--out cannot be"),
        (("--out", "", *own_text), "--out cannot be"),
        (("--out", "..", *own_text), "--out cannot be"),
        (("--out", str(tmp_path / "file"), *own_text), "cannot hold a training"),
        (("--out", "x" * 300, *own_text), "cannot hold a training"),
        (("--text", str(tmp_path / "none\x1b[2J.txt")), "no text file"),
        (("--text", str(tmp_path)), "not a text file"),
        (("--text", str(tmp_path / "latin.txt")), "not UTF-8"),
        (("-m", "model9"), "model9"),
        (("-m", "model1-trained"), "model1-trained"),
        (("-m", "model1", "--heads", "2"), "heads"),
        (("--tokenizer", "morse"), "morse"),
        (("-n", "0"), "number of steps"),
        (("--batch", "0"), "batch"),
        (("--lr", "-1"), "learning rate"),
        (("--lr", "nan"), "learning rate"),
        (("--seed", "-1"), "seed"),
        (("--activation", "step"), "step"),
        (("--context", "0"), "context"),
        (("--device", "mars"), "mars"),
        (("--resume", "nobody"), "no training to resume"),
        (("--resume", "model1-trained"), "no training to resume"),
        (("--resume", "taken", "-n", "5"), "leave out the other options"),
        (("--resume", "taken", "--ladder"), "leave out the other options"),
        (("--ladder", "-m", "model1"), "leave out the other options"),
        (("--ladder", "--out", str(tmp_path / "file")), "cannot be created"),
    ):
        assert wanted in error_line(run_here("train", *arguments)), arguments
    assert [path.name for path in home.iterdir()] == ["taken"]
    late = run_here("train", *SMALL, *own_text, "--out", str(tmp_path / "file" / "a"))
    assert (late.returncode, late.stderr.count(b"\n")) == (2, 1)
    assert b"cannot be created: Not a directory" in late.stderr


def test_a_text_whose_name_is_not_utf8_can_be_trained_on(run_here: Here, tmp_path: Path) -> None:
    """The name also has control codes; none of them is printed."""
    path = tmp_path / os.fsdecode(b"\xff\x1b[2J.txt")
    path.write_text(REFERENCE)
    arguments = ("train", *SMALL, "--text", str(path), "-n", "1", "--out", "mine")
    done = run_here(*arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    assert all(line.isprintable() for line in done.stdout.decode().splitlines())
    assert run_here("models").returncode == 0
    assert json_lines(run_here("generate", "oat", "-m", "mine", "-n", "1", "--json"))[0]["model"] == "mine"


# world ---------------------------------------------------------------------------------------------------------------


def test_world_samples_depend_on_the_seed(run_here: Here) -> None:
    """The same texts for the same seed; the JSON has their ids."""
    lines = json_lines(run_here("world", "sample", "-n", "5", "--seed", "3", "--json"))
    tokenizer = tokenizers.load_tokenizer(tiny.NAME)
    assert [line["ids"] for line in lines] == list(islice(tiny.texts(3), 5))
    for line in lines:
        assert line.keys() == {"text", "ids", "originals"}
        assert line["text"] == tokenizer.text(line["ids"])
        assert line["originals"] == tokenizers.load_tokenizer("cl100k").encode(line["text"])
    plain = run_here("world", "sample", "-n", "5", "--seed", "3")
    assert (plain.returncode, plain.stderr) == (0, b"")
    assert plain.stdout.decode() == "".join(line["text"] for line in lines)
    assert run_here("world", "sample", "-n", "5", "--seed", "4").stdout != plain.stdout
    assert len(run_here("world", "sample").stdout.splitlines()) == 10


def test_floors_as_json_and_as_text(run_here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lowest losses and those of a rung, slot by slot; the text has the same numbers."""
    monkeypatch.setattr(quality, "quality", partial(quality.quality, tokens=3000))
    arguments = ("-m", "model1", "-n", "2", "--batch", "4", "--device", "cpu", "--out", "mine", "--json")
    json_lines(run_here("train", *arguments))
    (found,) = json_lines(run_here("world", "floors", "-m", "mine", "--json"))
    assert found.keys() == {"floors", "rungs"}
    floors = tiny.automaton().floors()
    exact = {"unigram": floors.unigram, "last_token": floors.last_token, "context": floors.context}
    assert found["floors"] == exact
    (rung,) = found["rungs"]
    assert rung.keys() == {"model", "loss", "floor", "above", "long_range_accuracy", "slots"}
    assert (rung["model"], rung["floor"]) == ("mine", floors.last_token)
    assert rung["above"] == pytest.approx(rung["loss"] - rung["floor"])
    for slot in rung["slots"]:
        assert slot.keys() == {"label", "count", "accuracy", "loss", "last_token", "context"}
    assert [slot["label"] for slot in rung["slots"]] == list(tiny.automaton().labels())
    done = run_here("world", "floors", "-m", "mine")
    assert (done.returncode, done.stderr) == (0, b"")
    *lows, legend, head, row = done.stdout.decode().splitlines()
    assert [line.split()[0] for line in lows] == [f"{value:.4f}" for value in exact.values()]
    assert legend.startswith("losses in nats per token")
    assert head.split() == ["loss", "floor", "above", "far", *tiny.automaton().labels()]
    assert row.split()[:4] == ["mine", *(f"{rung[key]:.4f}" for key in ("loss", "floor", "above"))]


def test_a_user_error_of_world_is_one_line(run_here: Here) -> None:
    for arguments, wanted in (
        (("war",), "choose sample or floors"),
        (("floors", "-m", "nobody"), "nobody"),
        (("floors", "-m", "model2-trained", "-m", "model2"), "model2 does not use the tokenizer of the tiny world"),
        (("sample", "-n", "0"), "-n"),
    ):
        assert wanted in error_line(run_here("world", *arguments))
