"""`tokenwalk score`: its JSON, its text, and its errors."""

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Here = Callable[..., subprocess.CompletedProcess[bytes]]
BYTES = ("--tokenizer", "bytes", "--device", "cpu")
TEXT = "I prefer oat milk, 字 too.\n"
FIELDS = {
    "event",
    "position",
    "id",
    "text",
    "bytes",
    "context",
    "logit",
    "probability",
    "logprob",
    "surprisal_bits",
    "rank",
    "entropy_bits",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def json_lines(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    assert (done.returncode, done.stderr) == (0, b"")
    return [json.loads(line, parse_constant=pytest.fail) for line in done.stdout.splitlines()]


def test_json_has_a_line_per_token_and_a_summary(run_here: Here, file: Path) -> None:
    first, *tokens, summary = json_lines(run_here("score", str(file), "--json", *BYTES))
    assert {frozenset(line) for line in (first, *tokens)} == {frozenset(FIELDS)}
    assert [line["position"] for line in (first, *tokens)] == list(range(len(TEXT.encode())))
    assert b"".join(bytes.fromhex(line["bytes"]) for line in (first, *tokens)) == TEXT.encode()
    assert first["logprob"] is first["rank"] is first["context"] is None
    assert {line["event"] for line in (first, *tokens)} == {"token"}
    for line in tokens:
        assert line["probability"] == pytest.approx(math.exp(line["logprob"]))
        assert line["surprisal_bits"] == pytest.approx(-math.log2(line["probability"]))
    bits = math.fsum(line["surprisal_bits"] for line in tokens)
    assert summary["event"] == "summary"
    assert (summary["model"], summary["device"], summary["dtype"]) == ("model1", "cpu", "fp32")
    assert (summary["tokens"], summary["scored"], summary["bytes"]) == (len(tokens) + 1, len(tokens), len(tokens))
    assert summary["bits"] == pytest.approx(bits)
    assert summary["bits_per_byte"] == summary["bits_per_token"] == pytest.approx(bits / len(tokens))
    assert summary["perplexity"] == pytest.approx(2 ** (bits / len(tokens)))
    assert summary["context_at_least"] == 8 - 4 + 1
    worst = sorted(tokens, key=lambda line: -line["surprisal_bits"])
    assert summary["worst"] == [line["position"] for line in worst[:10]]


def test_standard_input_gives_the_same_scores_as_a_file(run_here: Here, file: Path) -> None:
    piped = run_here("score", "-", "--json", *BYTES, stdin=TEXT.encode())
    assert json_lines(piped) == json_lines(run_here("score", str(file), "--json", *BYTES))


def test_text_output_has_the_means_and_the_most_surprising_tokens(run_here: Here, file: Path) -> None:
    done = run_here("score", str(file), *BYTES)
    summary = json_lines(run_here("score", str(file), "--json", *BYTES))[-1]
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith(f"perplexity {summary['perplexity']:,.2f} · ")
    assert f"{summary['bits_per_byte']:.3f} bits per byte" in lines[0]
    assert "nothing precedes it" in lines[1]
    assert lines[2].endswith("or from at least the last 5")
    assert [int(line.split()[0]) for line in lines[5:]] == summary["worst"]


def test_a_text_within_the_context_is_predicted_from_all_tokens_before(run_here: Here) -> None:
    done = run_here("score", "-", *BYTES, stdin=b"oat")
    assert b"from all tokens before it\n" in done.stdout


def test_a_user_error_is_one_line(run_here: Here, tmp_path: Path) -> None:
    latin, empty = tmp_path / "latin", tmp_path / "empty"
    latin.write_bytes(b"ol\xe9")
    empty.write_bytes(b"")
    for arguments, stdin, wanted in (
        ((str(latin),), b"", "byte 3"),
        ((str(empty),), b"", "is empty"),
        ((str(tmp_path),), b"", "is a folder"),
        ((str(tmp_path / "no\x1b[2Jthing"),), b"", "No such file"),
        (("-",), b"", "standard input is empty"),
        (("-",), b"a\xff", "byte 2"),
        (("-",), b"a", "at least 2 tokens"),
        (("a\0b",), b"", "cannot be read"),
    ):
        done = run_here("score", *arguments, *BYTES, stdin=stdin)
        assert (done.returncode, done.stdout) == (2, b""), arguments
        error = done.stderr.decode()
        assert wanted in error
        assert error.startswith("tokenwalk: ")
        assert error.count("\n") == 1
        assert error[:-1].isprintable()


def test_control_codes_in_a_text_are_escaped(run_here: Here) -> None:
    done = run_here("score", "-", *BYTES, stdin="\x1b[2J\x1b]52;c;aGk=\x07\u202e\x9b\r\t".encode())
    assert done.returncode == 0
    assert [c for line in done.stdout.decode().splitlines() for c in line if not c.isprintable()] == []


def test_a_byte_order_mark_is_dropped_and_said(run_here: Here, file: Path) -> None:
    whole = run_here("score", str(file), "--json", *BYTES)
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    marked = run_here("score", str(file), "--json", *BYTES)
    assert marked.stdout == whole.stdout
    assert marked.stderr.decode() == f"tokenwalk: {file} begins with a byte-order mark, which is not scored\n"
