"""`tokenwalk generate --until`: each sample ends where its own walk would, and says why."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from core.generation.stop_conditions import parse
from core.loading.choice import ModelChoice
from core.loading.models import load_model
from core.sampling.sampler import Sampler
from core.walk.session import Session

Here = Callable[..., subprocess.CompletedProcess[bytes]]
PROMPT = "oat milk"
MODEL = ("--model", "model5", "--tokenizer", "bytes", "--device", "cpu")


@pytest.fixture(scope="module")
def walk() -> Callable[..., Session]:
    """The same walk without the command."""
    model = load_model(ModelChoice(name="model5", tokenizer="bytes", device="cpu"))

    def start(seed: int) -> Session:
        session = Session(model, Sampler(seed=seed))
        list(session.prefill(list(PROMPT.encode())))
        return session

    return start


def until(*conditions: str) -> list[str]:
    return [word for condition in conditions for word in ("--until", condition)]


def lines(run_here: Here, *arguments: str) -> list[dict[str, Any]]:
    done = run_here("generate", PROMPT, *MODEL, *arguments, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "conditions",
    [
        ["surprisal > 8.4"],
        ["rank > 200", "surprisal < 6"],
        ["entropy < 7.9825"],
        ["margin > 0.004"],
        ["token 101", "text y"],
    ],
    ids="; ".join,
)
def test_a_sample_ends_where_its_own_walk_ends(run_here: Here, walk: Any, conditions: list[str]) -> None:
    """Alone and among others of a batch: the tokens of `Session.generate`, and the words of what stopped it."""
    sessions = [walk(seed) for seed in range(6)]
    tokens = [[token.id for token in each.generate(40, parse(conditions))] for each in sessions]
    words = [each.stopped.removeprefix("stopped: ") if "stopped" in each.stopped else "length" for each in sessions]
    assert len({len(each) for each in tokens}) > 1
    _, *steps, done = lines(run_here, "-n", "40", "--samples", "6", *until(*conditions))
    for sample, wanted in enumerate(tokens):
        assert [step["id"] for step in steps if step["sample"] == sample] == wanted
    assert done["reason"] == words
    assert done["tokens"] == len(steps) == sum(map(len, tokens))
    for seed in (0, 3):
        _, *steps, done = lines(run_here, "-n", "40", "--seed", str(seed), *until(*conditions))
        assert [step["id"] for step in steps] == tokens[seed]
        assert done["reason"] == words[seed]


def test_what_never_holds_ends_at_the_limit(run_here: Here) -> None:
    """With so many tokens, and the words for a person on stderr."""
    _, *steps, done = lines(run_here, "-n", "5", *until("entropy > 99"))
    assert (len(steps), done["reason"]) == (5, "length")
    _, *steps, done = lines(run_here, *until("4 tokens"))
    assert (len(steps), done["reason"]) == (4, "length")
    told = run_here("generate", PROMPT, *MODEL, "-n", "5", *until("entropy > 99", "text 'no way'"))
    assert told.returncode == 0
    assert told.stderr == b"tokenwalk: 5 tokens without entropy > 99 or text 'no way'\n"
    assert len(told.stdout.splitlines()) >= 1


def test_a_person_is_told_why_each_sample_stopped(run_here: Here, walk: Any) -> None:
    told = run_here("generate", PROMPT, *MODEL, "--samples", "2", *until("surprisal > 0"))
    reasons = []
    for seed in (0, 1):
        session = walk(seed)
        list(session.generate(30, parse(["surprisal > 0"])))
        reasons.append(f"tokenwalk: {seed + 1}: {session.stopped}")
    assert told.stderr.decode().splitlines() == reasons


@pytest.mark.parametrize("condition", ["", "entropy", "0 tokens", "\x1b[2J"])
def test_what_is_no_condition_is_one_line(run_here: Here, condition: str) -> None:
    """Before anything heavy is loaded; nothing a terminal would obey."""
    done = run_here("generate", PROMPT, "--until", condition)
    assert done.returncode == 2
    assert done.stdout == b""
    assert len(done.stderr.splitlines()) == 1
    assert b"is no condition; write entropy > 3" in done.stderr
    assert b"\x1b" not in done.stderr
