"""`tokenwalk compare`: what it prints for a program and for a person, and what it says of sides that cannot be."""

import json
import math
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

Here = Callable[..., subprocess.CompletedProcess[bytes]]
PROMPT = "I prefer oat milk in"
SMALL = ("--device", "cpu", "--tokenizer", "bytes")
DIVERGENCE = {"kl_ab_bits", "kl_ba_bits", "js_bits"}


def json_lines(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    assert (done.returncode, done.stderr) == (0, b"")
    return [json.loads(line, parse_constant=pytest.fail) for line in done.stdout.splitlines()]


def test_json_has_both_charts_and_their_divergences(run_here: Here) -> None:
    arguments = ("compare", PROMPT, "--model", "model2", "--with", "model5", *SMALL, "-k", "257", "--json")
    (found,) = json_lines(run_here(*arguments))
    assert set(found) == {"event", "by", "agree", "rank_in_a", "rank_in_b", "a", "b", *DIVERGENCE}
    assert (found["event"], found["by"]) == ("next", "token")
    assert [found[side]["model"] for side in "ab"] == ["model2", "model5"]
    shares = [{each["id"]: each["probability"] for each in found[side]["top"]} for side in "ab"]
    for side, each in zip("ab", shares, strict=True):
        assert set(found[side]) == {"model", "device", "dtype", "prompt_ids", "entropy_bits", "top", "others"}
        assert found[side]["prompt_ids"] == list(PROMPT.encode())
        assert found[side]["others"]["count"] == 0
        (alone,) = json_lines(run_here("next", PROMPT, "--model", found[side]["model"], *SMALL, "-k", "257", "--json"))
        assert [row["id"] for row in alone["top"]] == list(each)
        assert [row["probability"] for row in alone["top"]] == pytest.approx(list(each.values()), abs=1e-6)
    a, b = shares
    assert found["kl_ab_bits"] == pytest.approx(sum(a[id] * math.log2(a[id] / b[id]) for id in a), abs=1e-4)
    assert found["kl_ba_bits"] == pytest.approx(sum(b[id] * math.log2(b[id] / a[id]) for id in a), abs=1e-4)
    assert found["rank_in_b"] == 1 + list(b).index(next(iter(a)))
    assert found["rank_in_a"] == 1 + list(a).index(next(iter(b)))
    assert found["agree"] == (found["rank_in_a"] == 1)


def test_b_may_be_the_same_model_in_another_dtype(run_here: Here) -> None:
    (found,) = json_lines(run_here("compare", PROMPT, "--model", "model5", *SMALL, "--with-dtype", "bf16", "--json"))
    assert [(found[side]["model"], found[side]["dtype"]) for side in "ab"] == [("model5", "fp32"), ("model5", "bf16")]
    assert 0 < found["js_bits"] < 0.01


def test_along_prints_a_line_per_position_and_the_means(run_here: Here) -> None:
    arguments = ("compare", PROMPT, "--model", "model2", "--with", "model5", *SMALL, "--along", "--json")
    *positions, summary, last = json_lines(run_here(*arguments))
    keys = {"event", "byte", "tokens_a", "tokens_b", "agree", "best_a", "best_b", *DIVERGENCE}
    assert {frozenset(position) for position in positions} == {frozenset(keys)}
    assert [position["byte"] for position in positions] == list(range(1, len(PROMPT) + 1))
    assert (summary["event"], summary["by"], summary["places"]) == ("summary", "token", len(PROMPT))
    for name in DIVERGENCE:
        assert summary[name] == pytest.approx(sum(position[name] for position in positions) / len(positions))
    assert summary["agreement"] == sum(position["agree"] for position in positions) / len(positions)
    assert (summary["bytes"], summary["shared_bytes"]) == (len(PROMPT), len(PROMPT))
    assert last["event"] == "next"


def test_models_with_different_tokens_are_compared_by_bytes(run_here: Here) -> None:
    arguments = ("compare", PROMPT, "--model", "smollm2", "--with", "model1", "--along")
    found = json_lines(run_here(*arguments, "--json"))
    assert {found[-1]["by"], found[-2]["by"]} == {"byte"}
    assert found[-1]["kl_ba_bits"] is None  # SmolLM2 has no token for some bytes that no text has
    assert found[-1]["kl_ab_bits"] > 0
    lines = run_here(*arguments).stdout.decode()
    assert "over the next byte, because their tokenizers have different tokens" in lines
    assert "KL(B‖A) ∞" in lines


def test_text_output_has_two_columns(run_here: Here) -> None:
    done = run_here("compare", PROMPT, "--model", "model2", "--with", "model5", *SMALL, "-k", "3", "--along")
    (found,) = json_lines(run_here("compare", PROMPT, "--model", "model2", "--with", "model5", *SMALL, "--json"))
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert "A model2 fp32 cpu" in done.stdout.decode()
    assert f"JS {found['js_bits']:.4f} bits, over tokens" in lines[-2]
    assert f"KL(A‖B) {found['kl_ab_bits']:.4f}" in lines[-2]
    assert lines[-1].endswith(
        f"that of A has rank {found['rank_in_b']} in B, that of B has rank {found['rank_in_a']} in A"
    )
    assert sum(line.lstrip().startswith("mean") for line in lines) == 1
    assert len([line for line in lines if line.startswith("   ") and line.split()[0] in ("1", "2", "3")]) >= 3


def test_a_user_error_is_one_line(run_here: Here) -> None:
    for arguments, wanted in (
        (("compare", "hi"), "--with"),
        (("compare", "hi", "--with", "model99"), "model99"),
        (("compare", "hi", "--with-dtype", "fp7"), "fp7"),
        (("compare", "hi", "--with-device", "mars"), "mars"),
        (("compare", "hi", "--model", "model5", "--heads", "2", "--with", "model1"), "heads"),
        (("compare", "", "--with", "model2", "--along"), "longer"),
    ):
        done = run_here(*arguments, *SMALL)
        assert (done.returncode, done.stdout) == (2, b""), arguments
        error = done.stderr.decode()
        assert wanted in error
        assert error.startswith("tokenwalk: ")
        assert error.count("\n") == 1


def test_control_codes_in_a_prompt_are_escaped(run_here: Here) -> None:
    done = run_here("compare", "\x1b[2J\x9b\u202e", "--with", "model2", *SMALL, "-k", "257", "--along")
    assert done.returncode == 0
    assert [c for line in done.stdout.decode().splitlines() for c in line if not c.isprintable()] == []
