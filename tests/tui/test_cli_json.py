"""`--json` of each command: fields, types and values."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

PROMPT = "I prefer oat milk in"
IDS = [40, 10932, 72754, 14403, 304]
Lines = list[dict[str, Any]]
Here = Callable[..., subprocess.CompletedProcess[bytes]]

LAST = ("--order", "temperature-last")
OWN_PROCESS = ("generate", PROMPT, "-n", "5", "--seed", "3")
THIS_PROCESS: dict[str, Sequence[str]] = {
    "next": ("next", PROMPT, "-k", "7"),
    "samples": ("generate", PROMPT, "-n", "4", "--seed", "3", "--samples", "3"),
    "next seed": ("generate", PROMPT, "-n", "4", "--seed", "4"),
    "greedy": ("generate", PROMPT, "-n", "3", "--greedy"),
    "cold": ("generate", PROMPT, "-n", "3", "--temperature", "0"),
    "cut": ("generate", PROMPT, "-n", "6", "--top-k", "7", "--top-p", "0.9", "-t", "0.5", "--tokenizer", "bytes"),
    "min-p": ("generate", PROMPT, "-n", "6", "--min-p", "0.8", "-t", "2", *LAST, "--tokenizer", "bytes"),
    "nothing": ("generate", "", "-n", "0"),
    "deep": ("next", PROMPT, "--model", "model5", "--tokenizer", "bytes", "--heads", "2", "--dtype", "bf16"),
    "devices": ("devices",),
}
"""Commands that run in the process of the tests, which has imported torch already."""


def run(*arguments: str, **how: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "tui", *arguments], capture_output=True, timeout=60, check=False, **how
    )


@pytest.fixture(scope="module")
def output_of(run_here: Here) -> Callable[[str], Lines]:
    """The parsed lines of a command by its name above; each command runs once."""
    done = {name: run_here(*arguments, "--json") for name, arguments in THIS_PROCESS.items()}
    done["generate"] = run(*OWN_PROCESS, "--json")

    def lines(name: str) -> Lines:
        assert done[name].stderr == b""
        assert done[name].returncode == 0
        assert done[name].stdout.endswith(b"\n")
        return [json.loads(line, parse_constant=pytest.fail) for line in done[name].stdout.splitlines()]

    return lines


def has(value: dict[str, Any], **types: Any) -> None:
    """Assert that an object has exactly these fields, of these types."""
    assert set(value) == set(types)
    for name, wanted in types.items():
        assert isinstance(value[name], wanted), name
        assert not isinstance(value[name], bool), name


def is_candidate(value: dict[str, Any]) -> None:
    has(value, id=int, text=str, bytes=str, logit=float, probability=float, sampled_probability=float)
    bytes.fromhex(value["bytes"])


def test_generate_begins_with_the_model_and_the_prompt(output_of: Callable[[str], Lines]) -> None:
    first = output_of("generate")[0]
    has(first, event=str, model=str, device=str, dtype=str, prompt_ids=list, vocab_size=int, seconds=float)
    seconds = first.pop("seconds")
    assert 0 <= seconds < 60
    assert first == {
        "event": "prefill",
        "model": "model1",
        "device": "cpu",
        "dtype": "fp32",
        "prompt_ids": IDS,
        "vocab_size": 100_277,
    }


def test_generate_prints_each_token(output_of: Callable[[str], Lines]) -> None:
    steps = output_of("generate")[1:-1]
    assert [step["position"] for step in steps] == [5, 6, 7, 8, 9]
    for step in steps:
        has(
            step,
            event=str,
            sample=int,
            position=int,
            id=int,
            text=str,
            bytes=str,
            logit=float,
            probability=float,
            logprob=float,
            sampled_probability=float,
            entropy_bits=float,
            rank=int,
            u=float,
            top=list,
            seconds=float,
        )
        assert step["event"] == "step"
        assert step["sample"] == 0
        assert math.log(step["probability"]) == pytest.approx(step["logprob"])
        assert 0 <= step["u"] < 1
        assert 0 < step["entropy_bits"] <= math.log2(100_277)
        assert len(step["top"]) == 20
        for each in step["top"]:
            is_candidate(each)
        shares = [each["probability"] for each in step["top"]]
        assert shares == sorted(shares, reverse=True)
        assert bytes.fromhex(step["bytes"]).decode("utf-8", "backslashreplace") == step["text"]


def test_generate_ends_with_the_text(output_of: Callable[[str], Lines]) -> None:
    *_, last = lines = output_of("generate")
    has(last, event=str, text=str, tokens=int, tokens_per_second=float, reason=str)
    assert (last["event"], last["tokens"], last["reason"]) == ("done", 5, "length")
    generated = b"".join(bytes.fromhex(step["bytes"]) for step in lines[1:-1])
    assert last["text"] == generated.decode("utf-8", "backslashreplace")
    assert last["tokens_per_second"] > 0


def test_steps_of_samples_alternate_and_texts_are_a_list(output_of: Callable[[str], Lines]) -> None:
    lines = output_of("samples")
    assert [(s["position"], s["sample"]) for s in lines[1:-1]] == [(p, n) for p in range(5, 9) for n in range(3)]
    assert [type(text) for text in lines[-1]["text"]] == [str] * 3
    assert lines[-1]["tokens"] == 12
    assert len(set(lines[-1]["text"])) == 3


def test_a_sample_equals_a_run_with_its_seed(output_of: Callable[[str], Lines]) -> None:
    samples = [[s for s in output_of("samples")[1:-1] if s["sample"] == n] for n in range(3)]
    for sample, name in ((samples[0], "generate"), (samples[1], "next seed")):
        alone = output_of(name)[1:5]
        assert [step["id"] for step in sample] == [step["id"] for step in alone]
        assert [step["u"] for step in sample] == [step["u"] for step in alone]
        assert [step["logit"] for step in sample] == pytest.approx([step["logit"] for step in alone], abs=1e-4)


def test_greedy_equals_temperature_zero_and_takes_the_likeliest_token(output_of: Callable[[str], Lines]) -> None:
    greedy, cold = output_of("greedy")[1:-1], output_of("cold")[1:-1]
    for one, other in zip(greedy, cold, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
        assert one["id"] == one["top"][0]["id"]
        assert one["u"] is None
        assert one["rank"] == 1
        assert one["sampled_probability"] == 1
        assert one["probability"] < 0.01


def test_top_k_and_top_p_change_sampled_probability_only(output_of: Callable[[str], Lines]) -> None:
    first, *steps, _ = output_of("cut")
    assert first["vocab_size"] == 257
    for step in steps:
        selected = [each for each in step["top"] if each["sampled_probability"] > 0]
        assert 1 <= len(selected) <= 7
        assert step["top"][: len(selected)] == selected
        assert sum(each["sampled_probability"] for each in selected) == pytest.approx(1)
        assert step["id"] in [each["id"] for each in selected]
        assert step["sampled_probability"] > step["probability"]


def test_min_p_is_applied_before_a_temperature_that_comes_last(output_of: Callable[[str], Lines]) -> None:
    for step in output_of("min-p")[1:-1]:
        best = step["top"][0]["probability"]
        for each in step["top"]:
            assert (each["sampled_probability"] > 0) == (each["probability"] >= 0.8 * best)
        roots = [math.sqrt(each["probability"]) for each in step["top"] if each["sampled_probability"] > 0]
        assert len(roots) < 20
        shares = [each["sampled_probability"] for each in step["top"][: len(roots)]]
        assert shares == pytest.approx([root / sum(roots) for root in roots], abs=1e-6)


def test_an_empty_prompt_starts_from_the_end_of_text_and_nothing_can_be_generated(
    output_of: Callable[[str], Lines],
) -> None:
    first, last = output_of("nothing")
    assert first["prompt_ids"] == [100_257]
    assert last == {"event": "done", "text": "", "tokens": 0, "tokens_per_second": None, "reason": "length"}


def test_next_is_one_object(output_of: Callable[[str], Lines]) -> None:
    (found,) = output_of("next")
    has(
        found,
        model=str,
        prompt_ids=list,
        known=int,
        entropy_bits=float,
        effective=float,
        mass90=int,
        top=list,
        others=dict,
    )
    assert (found["model"], found["prompt_ids"]) == ("model1", IDS)
    assert found["effective"] == pytest.approx(2 ** found["entropy_bits"])
    assert found["known"] == 100_277
    assert 0 < found["mass90"] < 100_277
    assert len(found["top"]) == 7
    for each in found["top"]:
        is_candidate(each)
        assert each["sampled_probability"] == pytest.approx(each["probability"])
    has(found["others"], count=int, probability=float)
    assert found["others"]["count"] == 100_270
    assert found["others"]["probability"] + sum(each["probability"] for each in found["top"]) == pytest.approx(1)


def test_next_equals_the_distribution_that_generate_samples(output_of: Callable[[str], Lines]) -> None:
    assert output_of("next")[0]["top"] == output_of("next seed")[1]["top"][:7]


def test_options_of_the_model_are_applied(output_of: Callable[[str], Lines]) -> None:
    (found,) = output_of("deep")
    assert found["model"] == "model5"
    assert found["prompt_ids"] == list(PROMPT.encode())
    assert found["others"]["count"] == 257 - 20


def test_devices(output_of: Callable[[str], Lines]) -> None:
    found = output_of("devices")
    for device in found:
        has(device, name=str, label=str, memory_bytes=(int, type(None)), problem=(str, type(None)))
    assert found[0]["name"] == "cpu"
    assert found[0]["problem"] is None
    assert {device["name"].partition(":")[0] for device in found} == {"cpu", "cuda", "mps"}


@pytest.fixture
def tokens(run_here: Here) -> Callable[..., dict[str, Any]]:
    """Run `tokenwalk tokens` and parse its output."""
    return lambda *arguments, **how: tokenized(run_here("tokens", *arguments, "--json", **how))


def tokenized(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    assert (done.returncode, done.stderr) == (0, b"")
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    has(found, tokenizer=str, ids=list, pieces=list)
    for id, piece in zip(found["ids"], found["pieces"], strict=True):
        has(piece, id=int, text=str, bytes=str)
        assert piece["id"] == id
    return found


def test_tokens_of_a_text(tokens: Callable[..., dict[str, Any]]) -> None:
    found = tokens(PROMPT)
    assert found["tokenizer"] == "cl100k"
    assert found["ids"] == IDS
    assert [piece["text"] for piece in found["pieces"]] == ["I", " prefer", " oat", " milk", " in"]
    assert bytes.fromhex("".join(piece["bytes"] for piece in found["pieces"])) == PROMPT.encode()


def test_incomplete_characters_are_escaped(tokens: Callable[..., dict[str, Any]]) -> None:
    found = tokens("🫠")
    assert "".join(piece["text"] for piece in found["pieces"]) == "\\xf0\\x9f\\xab\\xa0"
    assert "".join(piece["bytes"] for piece in found["pieces"]) == "f09faba0"


def test_tokens_from_standard_input(tokens: Callable[..., dict[str, Any]]) -> None:
    found = tokens("-", "--tokenizer", "bytes", stdin="a\r\n字\0".encode())
    assert found["ids"] == list("a\r\n字\0".encode())
    assert found["tokenizer"] == "bytes"


def test_special_tokens_are_read_as_text_without_the_option(tokens: Callable[..., dict[str, Any]]) -> None:
    assert len(tokens("<|endoftext|>")["ids"]) > 1
    assert tokens("<|endoftext|>", "--special")["ids"] == [100_257]


def test_an_empty_text_has_no_tokens(tokens: Callable[..., dict[str, Any]]) -> None:
    assert tokens("")["ids"] == []


def test_models(run_here: Here) -> None:
    done = run_here("models", "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for model in found:
        assert model.keys() == {"name", "family", "words", "size_bytes", "problem"}
    assert [model["name"] for model in found][:6] == [f"model{n}" for n in range(1, 7)]


def test_a_prompt_from_standard_input_is_used_unchanged(run_here: Here) -> None:
    done = run_here("generate", "-", "-n", "2", "--tokenizer", "bytes", "--json", stdin="oat\nmilk 字".encode())
    first, *_ = [json.loads(line) for line in done.stdout.splitlines()]
    assert first["prompt_ids"] == list("oat\nmilk 字".encode())
