"""`tokenwalk generate --draft`: its events, its text and its errors."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Here = Callable[..., subprocess.CompletedProcess[bytes]]
MODELS = ("-m", "model5-trained", "--draft", "model2-trained", "--device", "cpu")


def test_json_has_a_line_per_round(run_here: Here) -> None:
    """Proposals with p, q and the judgment; the tokens of the rounds are the text."""
    done = run_here("generate", "I prefer oat milk in", *MODELS, "-n", "20", "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    first, *rounds, last = [json.loads(line, parse_constant=pytest.fail) for line in done.stdout.splitlines()]
    assert (first["event"], first["draft"]["model"], first["draft_tokens"]) == ("prefill", "model2-trained", 4)
    tokens = [token for line in rounds for token in line["tokens"]]
    assert bytes.fromhex("".join(token["bytes"] for token in tokens)).decode() == last["text"]
    judged = [each for line in rounds for each in line["proposals"] if each["accepted"] is not None]
    assert (
        (last["tokens"], last["rounds"], last["judged"])
        == (20, len(rounds), len(judged))
        == (len(tokens), len(rounds), len(judged))
    )
    assert last["accepted"] == sum(each["accepted"] for each in judged)
    assert last["acceptance_rate"] == pytest.approx(last["accepted"] / len(judged))
    assert last["speedup_over_target_steps"] == pytest.approx(
        last["target_step_seconds"] / last["round_seconds_per_token"]
    )
    assert all(0 <= each["p"] <= 1 and 0 < each["q"] <= 1 for each in judged)


def test_text_is_printed_with_the_share_of_accepted_proposals(run_here: Here) -> None:
    done = run_here("generate", "I prefer oat milk in", *MODELS, "-n", "8", "--greedy")
    plain = run_here("generate", "I prefer oat milk in", *MODELS[:2], *MODELS[4:], "-n", "8", "--greedy")
    assert done.returncode == 0
    assert done.stdout == plain.stdout
    assert b"proposals accepted" in done.stderr
    assert "× as fast as steps of the model alone" in done.stderr.decode()


def test_the_walk_is_saved_and_its_scores_are_replayed(run_here: Here, tmp_path: Path) -> None:
    path = tmp_path / "walk.json"
    assert run_here("generate", "I prefer oat milk in", *MODELS, "-n", "9", "--save", str(path)).returncode == 0
    assert run_here("replay", str(path)).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--draft-tokens", "3"], "--draft-tokens belongs to --draft"),
        (["--draft", "model1"], "--draft model1 has other tokens"),
        (["--draft", "model2-trained", "--samples", "2"], "--samples 2"),
        (["--draft", "model2-trained", "--draft-tokens", "0"], "--draft-tokens must be between 1 and 32, not 0"),
        (["--draft", "nobody/nothing"], "nobody/nothing is not on this machine"),
    ],
)
def test_wrong_options_are_one_line(run_here: Here, arguments: list[str], named: str) -> None:
    done = run_here("generate", "I", "-m", "model5-trained", "--device", "cpu", *arguments)
    assert done.returncode == 2
    assert done.stderr.decode().count("\n") == 1
    assert named in done.stderr.decode()
