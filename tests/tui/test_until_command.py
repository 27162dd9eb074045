"""`tokenwalk generate --until`: each sample stops where a walk with its seed would, and the reason is printed."""

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
    """A session with the same model and prompt, by seed."""
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
def test_a_sample_stops_where_a_session_with_its_seed_stops(run_here: Here, walk: Any, conditions: list[str]) -> None:
    """Alone and in a batch: the tokens of `Session.generate`, and the same reason."""
    sessions = [walk(seed) for seed in range(6)]
    tokens = [[token.id for token in each.generate(40, parse(conditions))] for each in sessions]
    reasons = [each.stopped.removeprefix("stopped: ") if "stopped" in each.stopped else "length" for each in sessions]
    assert len({len(each) for each in tokens}) > 1
    _, *steps, done = lines(run_here, "-n", "40", "--samples", "6", *until(*conditions))
    for sample, wanted in enumerate(tokens):
        assert [step["id"] for step in steps if step["sample"] == sample] == wanted
    assert done["reason"] == reasons
    assert done["tokens"] == len(steps) == sum(map(len, tokens))
    for seed in (0, 3):
        _, *steps, done = lines(run_here, "-n", "40", "--seed", str(seed), *until(*conditions))
        assert [step["id"] for step in steps] == tokens[seed]
        assert done["reason"] == reasons[seed]


def test_a_condition_that_never_holds_stops_at_the_limit(run_here: Here) -> None:
    """The number of tokens is the limit, and the reason is printed on stderr."""
    _, *steps, done = lines(run_here, "-n", "5", *until("entropy > 99"))
    assert (len(steps), done["reason"]) == (5, "length")
    _, *steps, done = lines(run_here, *until("4 tokens"))
    assert (len(steps), done["reason"]) == (4, "length")
    printed = run_here("generate", PROMPT, *MODEL, "-n", "5", *until("entropy > 99", "text 'no way'"))
    assert printed.returncode == 0
    assert printed.stderr == b"tokenwalk: stopped after 5 tokens without entropy > 99 or text 'no way'\n"
    assert len(printed.stdout.splitlines()) >= 1


def test_the_reason_is_printed_for_each_sample(run_here: Here, walk: Any) -> None:
    done = run_here("generate", PROMPT, *MODEL, "--samples", "2", *until("surprisal > 0"))
    reasons = []
    for seed in (0, 1):
        session = walk(seed)
        list(session.generate(30, parse(["surprisal > 0"])))
        reasons.append(f"tokenwalk: {seed + 1}: {session.stopped}")
    assert done.stderr.decode().splitlines() == reasons


@pytest.mark.parametrize("condition", ["", "entropy", "0 tokens", "\x1b[2J"])
def test_an_invalid_condition_is_one_line(run_here: Here, condition: str) -> None:
    """It is refused before a model is loaded, and control codes are escaped."""
    done = run_here("generate", PROMPT, "--until", condition)
    assert done.returncode == 2
    assert done.stdout == b""
    assert len(done.stderr.splitlines()) == 1
    assert b"is not a stop condition; write one such as entropy > 3" in done.stderr
    assert b"\x1b" not in done.stderr
