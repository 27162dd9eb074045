"""Commands with models from files: bench, chat templates, and the end of a text."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from core.loading.choice import ModelChoice
from core.loading.model import Model
from core.tokenizers import chat
from core.walk.values import PromptForm
from tui.app import TokenwalkApp

Here = Callable[..., subprocess.CompletedProcess[bytes]]
QUESTION = "What is the capital of France?"
SMOLLM2 = ("--model", "smollm2", "--dtype", "fp32")


def lines(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    assert (done.returncode, done.stderr) == (0, b"")
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def ids_of(smollm2: Callable[[str], Model]) -> Callable[[str], list[int]]:
    """The ids of a text in the chat template."""
    return lambda text: chat.encode(smollm2("fp32").tokenizer, text, chat=True)


def test_bench(run_here: Here) -> None:
    """One JSON object, or a few lines of text."""
    arguments = ("bench", "--tokenizer", "bytes", "--prompt", "20", "-n", "3", "--runs", "1")
    (found,) = lines(run_here(*arguments, "--json"))
    assert (found["model"], found["device"], found["dtype"], found["prompt_tokens"]) == ("model1", "cpu", "fp32", 20)
    assert found["implementation"] == "torch"
    for key in ("first_token_seconds", "prompt_tokens_per_second", "tokens_per_second", "bandwidth_bytes_per_second"):
        assert found[key] > 0
    assert found["weights_bytes"] > found["bytes_per_token"] > 0
    done = run_here(*arguments)
    assert done.returncode == 0
    assert all(
        word in done.stdout.decode() for word in ("tokens a second by torch", "first token", "GB/s", "MB of weights")
    )
    for wrong in (("--prompt", "0"), ("-n", "0"), ("--runs", "0"), ("--model", "nothing")):
        refused = run_here(*arguments, *wrong)
        assert (refused.returncode, refused.stdout, refused.stderr.count(b"\n")) == (2, b"", 1)


@pytest.mark.usefixtures("shared_weights")
def test_generation_stops_at_the_end_of_text_token(run_here: Here, ids_of: Callable[[str], list[int]]) -> None:
    """The prompt is wrapped by the chat template; the last token is the end-of-text token; the reason is `stop`."""
    first, *steps, done = lines(run_here("generate", QUESTION, *SMOLLM2, "--chat", "--greedy", "-n", "40", "--json"))
    assert first["prompt_ids"] == ids_of(QUESTION)
    assert done["text"] == "The capital of France is Paris.<|im_end|>"
    assert (done["reason"], done["tokens"], len(steps)) == ("stop", 8, 8)
    assert steps[-1]["text"] == "<|im_end|>"
    cut = lines(run_here("generate", QUESTION, *SMOLLM2, "--chat", "--greedy", "-n", "3", "--json"))[-1]
    assert (cut["reason"], cut["tokens"]) == ("length", 3)


@pytest.mark.usefixtures("shared_weights")
def test_each_sample_stops_at_its_own_end_of_text(run_here: Here) -> None:
    """A stopped sample has no more steps; the reason is `stop` only where all samples stopped."""
    options = ("--chat", "--samples", "3", "--temperature", "0.6", "--seed", "2", "-n", "14")
    _, *steps, done = lines(run_here("generate", QUESTION, *SMOLLM2, *options, "--json"))
    for sample, text in enumerate(done["text"]):
        own = [step for step in steps if step["sample"] == sample]
        assert "".join(step["text"] for step in own) == text
        assert [step["position"] - own[0]["position"] for step in own] == list(range(len(own)))
        assert all(step["text"] != "<|im_end|>" for step in own[:-1])
    assert done["tokens"] == len(steps)
    ended = [text.endswith("<|im_end|>") for text in done["text"]]
    assert done["reason"] == ("stop" if all(ended) else "length")
    assert any(ended)


@pytest.mark.usefixtures("shared_weights")
def test_next_uses_the_chat_template(run_here: Here, ids_of: Callable[[str], list[int]]) -> None:
    (found,) = lines(run_here("next", "hi", *SMOLLM2, "--chat", "--json"))
    assert found["prompt_ids"] == ids_of("hi")


@pytest.mark.parametrize("command", ["generate", "next"])
def test_chat_without_a_template_is_an_error(run_here: Here, command: str) -> None:
    """One line; the prompt is not used without a template instead."""
    done = run_here(command, "hi", "--chat", "--tokenizer", "bytes")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"no chat template" in done.stderr


@pytest.mark.usefixtures("shared_weights")
async def test_the_app_uses_the_chat_template(
    real: Callable[..., TokenwalkApp], settle: Any, press: Any, ids_of: Callable[[str], list[int]]
) -> None:
    """The prompt panel shows the text as typed; the ids include the template; generation stops after the answer."""
    choice = ModelChoice(name="smollm2", device="cpu", dtype="fp32")
    async with real(QUESTION, choice, form=PromptForm(chat=True), count=40).run_test(size=(120, 40)) as pilot:
        app = pilot.app
        await settle(pilot)
        assert app.frame.snapshot is not None
        assert [token.id for token in app.frame.snapshot.tokens] == ids_of(QUESTION)
        app.do("sampling.temperature", -100)
        await press(pilot, "g")
        generated = app.frame.snapshot.tokens[app.frame.snapshot.prompt_length :]
        assert generated[-1].piece == b"<|im_end|>"
        assert app.frame.snapshot.stopped == "stopped: the model ended its text"
        assert app.prompt.text == QUESTION
