"""`tokenwalk search`: its JSON, its table, its file and its errors."""

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Here = Callable[..., subprocess.CompletedProcess[bytes]]
MODEL = ("--tokenizer", "bytes", "--device", "cpu")


def lines(run_here: Here, *arguments: str) -> list[dict[str, Any]]:
    done = run_here("search", "oat", *MODEL, *arguments, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    return [json.loads(line, parse_constant=pytest.fail) for line in done.stdout.splitlines()]


def test_json_of_a_beam_search_has_a_line_per_step_and_per_answer(run_here: Here) -> None:
    first, *rest = lines(run_here, "--beam", "3", "-n", "4", "--length-penalty", "0.5", "--stop", "e")
    assert (first["event"], first["prompt_ids"]) == ("prefill", list(b"oat"))
    assert first["plan"] == "beam 3; length 4; penalty 0.5; stop 'e'"
    steps = [line for line in rest if line["event"] == "step"]
    answers = [line for line in rest if line["event"] == "answer"]
    assert [line["step"] for line in steps] == list(range(1, len(steps) + 1))
    assert [line["rank"] for line in answers] == [1, 2, 3]
    for answer in answers:
        assert bytes.fromhex("".join(token["bytes"] for token in answer["tokens"])) == bytes(answer["ids"])
        assert answer["logprob"] == pytest.approx(math.fsum(token["logprob"] for token in answer["tokens"]))
        assert answer["score"] == pytest.approx(answer["logprob"] / len(answer["ids"]) ** 0.5)
        assert answer["ended"] == (answer["ids"][-1] == ord("e"))
        assert answer["proved"] is False
    assert rest[-1] | {"seconds": 0} == {
        "event": "done", "reason": "finished", "found": 3, "expanded": rest[-1]["expanded"], "seconds": 0,
    }  # fmt: skip


def test_json_of_the_likeliest_answers_says_what_is_proved(run_here: Here) -> None:
    rest = lines(run_here, "--best", "4", "-n", "2")
    answers = [line for line in rest if line["event"] == "answer"]
    assert [line["proved"] for line in answers] == [True] * 4
    assert [line["logprob"] for line in answers] == sorted((line["logprob"] for line in answers), reverse=True)
    assert (rest[-1]["reason"], rest[-1]["proved"]) == ("proved", 4)


def test_a_budget_is_said_with_its_gap(run_here: Here) -> None:
    rest = lines(run_here, "--best", "2", "-n", "6", "--nodes", "30")
    assert (rest[-1]["reason"], rest[-1]["expanded"]) == ("nodes", 30)
    assert rest[-1]["gap"] > 0
    assert rest[-1]["proved"] == sum(line["proved"] for line in rest if line["event"] == "answer")


def test_the_table_names_the_answers_and_the_proof(run_here: Here) -> None:
    done = run_here("search", "oat", *MODEL, "--best", "2", "-n", "1")
    assert done.returncode == 0
    head, *rows, last = done.stdout.decode().splitlines()
    assert head.split() == ["#", "answer", "ln", "p"]
    assert [row.split()[0] for row in rows] == ["1", "2"]
    assert all(row.endswith("✓") for row in rows)
    assert "no other answer is likelier" in last


def test_the_tree_is_saved(run_here: Here, tmp_path: Path) -> None:
    """A session whose branches are the hypotheses."""
    path = tmp_path / "walk.json"
    assert run_here("search", "oat", *MODEL, "--beam", "2", "-n", "3", "--save", str(path)).returncode == 0
    saved = json.loads(path.read_text())
    assert saved["prompt"] == "oat"
    assert len(saved["nodes"]) > 3 + 3


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--beam", "2", "--best", "2"], "--best"),
        (["--best", "2", "--length-penalty", "1"], "--length-penalty"),
        (["--best", "2", "--early-stopping", "no"], "--early-stopping"),
        (["--nodes", "5"], "--nodes"),
        (["--early-stopping", "soon"], "'soon'"),
        (["--beam", "0"], "--beam must be between 1 and 64, not 0"),
        (["--best", "0"], "--best must be between 1 and 1,000, not 0"),
        (["-n", "0"], "length of at least 1 token"),
        (["--stop", "ab"], "--stop 'ab' is 2 tokens"),
        (["--save", "no/such/folder/walk.json"], "there is no folder"),
        (["--save", "."], "is a folder, not a file"),
    ],
)
def test_wrong_options_are_one_line(run_here: Here, arguments: list[str], named: str) -> None:
    done = run_here("search", "oat", *MODEL, *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().count("\n") == 1
    assert named in done.stderr.decode()
