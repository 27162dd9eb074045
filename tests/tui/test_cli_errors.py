"""A user error on the command line: exit code 2, one line on standard error, nothing on standard output."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from forked_python import ForkedPython

Here = Callable[..., subprocess.CompletedProcess[bytes]]
BYTES = ("--tokenizer", "bytes")

ERRORS: dict[str, Sequence[str | bytes]] = {
    "no prompt": ("generate",),
    "no number": ("generate", "hi", "-n", "x"),
    "a negative count": ("generate", "hi", "-n", "-1"),
    "no candidates": ("next", "hi", "-k", "0"),
    "an unknown option": ("generate", "hi", "--bogus"),
    "an unknown option after a prompt": ("hi", "--bogus"),
    "two prompts": ("generate", "hi", "there"),
    "too much": ("models", "x"),
    "a cold temperature": ("generate", "hi", "--temperature=-1"),
    "no temperature": ("generate", "hi", "-t", "nan"),
    "a large p": ("generate", "hi", "--top-p", "1.5"),
    "a large min-p": ("generate", "hi", "--min-p", "1.5"),
    "an unknown order": ("generate", "hi", "--order", "backwards"),
    "an unknown tokenizer": ("tokens", "hi", "--tokenizer", "morse"),
    "an unknown model for the app": ("hi", "--model", "model99"),
    "an unknown tokenizer for the app": ("hi", "--tokenizer", "morse"),
    "impossible heads for the app": ("hi", "--model", "model5", "--heads", "3"),
    "no terminal": ("hi",),
    "frames": ("hi", "--fps", "0"),
    "a prompt that is no text": ("tokens", b"a\xff"),
    "an escape in an option": ("generate", "hi", "--\x1b[2J"),
    "an escape in a number": ("generate", "hi", "-n", "\x1b[2J"),
    "an escape in what is too much": ("generate", "hi", "\x1b]52;c;aGk=\x07"),
    "an escape in a name": ("tokens", "hi", "--tokenizer", "\x1b[2J\u202e"),
    "a line feed in a name": ("tokens", "hi", "--tokenizer", "a\nb"),
    "an unknown model": ("generate", "hi", "--model", "model99", *BYTES),
    "an unknown device": ("generate", "hi", "--device", "mars", *BYTES),
    "a device that is not here": ("next", "hi", "--device", "cuda:99", *BYTES),
    "an unknown dtype": ("generate", "hi", "--dtype", "fp7", *BYTES),
    "an unknown activation": ("generate", "hi", "--activation", "step", *BYTES),
    "impossible heads": ("generate", "hi", "--model", "model5", "--heads", "3", *BYTES),
    "heads of a model without": ("next", "hi", "--heads", "4", *BYTES),
    "blocks of a model without": ("next", "hi", "--blocks", "4", *BYTES),
    "no context": ("next", "hi", "--context", "0", *BYTES),
    "no width": ("next", "hi", "--embed-dim", "0", *BYTES),
    "more than fits": ("next", "hi", "--embed-dim", "100000000", *BYTES),
    "a negative seed of weights": ("next", "hi", "--weights-seed=-1", *BYTES),
}
NAMED = {
    "no number": "'x' is not a valid int range; tokenwalk --help",
    "an unknown model": "model99",
    "an unknown device": "mars",
    "an unknown dtype": "fp7",
    "an unknown activation": "step",
    "impossible heads": "heads",
    "an unknown option": "--bogus",
    "a large min-p": "min-p",
    "an unknown order": "temperature-first or temperature-last",
    "an unknown tokenizer": "morse",
    "no terminal": "terminal",
    "a prompt that is no text": "UTF-8",
    "more than fits": "GB",
}


def run(*arguments: str | bytes, **how: Any) -> subprocess.CompletedProcess[bytes]:
    how = {"stdin": subprocess.DEVNULL, **how} if "input" not in how else how
    command = [sys.executable, "-m", "tui", *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, **how)


def wrong(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    """How the output differs from that of a user error."""
    error = done.stderr.decode("utf-8")
    found = [f"exit code {done.returncode}"] if done.returncode != 2 else []
    found += [f"stdout: {done.stdout!r}"] if done.stdout else []
    if not (error.endswith("\n") and error.count("\n") == 1 and error.startswith("tokenwalk: ")):
        found.append(f"not one line: {error!r}")
    found += [f"not printable: {c!r}" for c in error[:-1] if not c.isprintable()]
    return found


@pytest.mark.parametrize("name", ["no number", "an unknown tokenizer", "no terminal", "a prompt that is no text"])
def test_an_error_is_one_line_of_the_process(name: str) -> None:
    done = run(*ERRORS[name])
    assert wrong(done) == []
    assert NAMED.get(name, "") in done.stderr.decode()


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_one_line(name: str, run_here: Here) -> None:
    done = run_here(*(os.fsdecode(argument) for argument in ERRORS[name]))
    assert wrong(done) == []
    assert NAMED.get(name, "") in done.stderr.decode()


@pytest.mark.parametrize("command", ["tokens", "generate"])
def test_standard_input_that_is_not_utf8_is_an_error(command: str) -> None:
    done = run(command, "-", input=b"ab\xffc")
    assert wrong(done) == []
    assert b"byte 3" in done.stderr


def test_a_prompt_may_begin_with_a_dash_after_two_dashes() -> None:
    done = run("tokens", "--json", "--", "-5 degrees")
    assert done.returncode == 0
    assert b'"-"' in done.stdout


def test_a_closed_pipe_ends_without_an_error_message() -> None:
    command = [sys.executable, "-m", "tui", "generate", "hi", "-n", "100000", "--json", *BYTES]
    with ForkedPython(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline().startswith(b'{"event": "prefill"')
        process.stdout.close()
        error = process.stderr.read()
        assert process.wait(30) == 128 + signal.SIGPIPE
    assert error == b""


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
def test_ctrl_c_prints_the_text_so_far(as_json: bool) -> None:
    command = [sys.executable, "-m", "tui", "generate", "hi", "-n", "10000000", *BYTES, *["--json"] * as_json]
    with ForkedPython(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        start = b"".join(process.stdout.readline() for _ in range(10)) if as_json else process.stdout.read(20)
        process.send_signal(signal.SIGINT)
        written = start + process.stdout.read()
        error = process.stderr.read()
        assert process.wait(30) == 130
    assert error == b""
    assert written.endswith(b"\n")
    if as_json:
        first, *steps, last = [json.loads(line) for line in written.splitlines()]
        assert [first["event"], {step["event"] for step in steps}] == ["prefill", {"step"}]
        assert (last["event"], last["reason"]) == ("done", "interrupted")
        assert 0 <= last["tokens"] - len(steps) <= 1  # the interruption may come between a draw and its line
        generated = b"".join(bytes.fromhex(step["bytes"]) for step in steps)
        assert last["text"][:20] == generated.decode("utf-8", "backslashreplace")[:20]


@pytest.mark.parametrize("target", ["core.loading.models.load_model", "core.generation.batch.Batch"])
def test_ctrl_c_before_the_first_token_prints_nothing(
    target: str, run_here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(target, interrupted)
    done = run_here("generate", "hi", *BYTES)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_control_codes_in_generated_text_are_escaped(run_here: Here) -> None:
    """model1 over bytes draws every control character sooner or later."""
    done = run_here("generate", "\x1b[2J\x9b\u202e", "-n", "1000", "--samples", "2", *BYTES)
    assert done.returncode == 0
    text = done.stdout.decode("utf-8")
    assert text.count("\\x1b") > 5
    assert [c for c in text if not c.isprintable() and c not in "\n\t"] == []


def test_control_codes_in_tables_are_escaped(run_here: Here) -> None:
    hostile = "\x1b[2J\x1b]52;c;aGk=\x07\u202e\x9b\r\t👨\u200d👩 字 \x7f"
    for arguments in (("tokens", hostile), ("next", hostile, "-k", "257", *BYTES)):
        done = run_here(*arguments)
        assert done.returncode == 0
        lines = done.stdout.decode("utf-8").splitlines()
        assert len(lines) > 10
        assert [c for line in lines for c in line if not c.isprintable()] == []


def test_output_in_another_encoding_does_not_fail() -> None:
    for arguments in (("tokens", "字 a"), ("models",)):
        done = run(*arguments, env={**os.environ, "PYTHONIOENCODING": "ascii"})
        assert done.returncode == 0
        assert b"Traceback" not in done.stderr


def test_json_in_another_encoding_is_escaped() -> None:
    done = run("tokens", "é 字 😀", "--json", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    text = b"".join(bytes.fromhex(piece["bytes"]) for piece in json.loads(done.stdout)["pieces"])
    assert text.decode() == "é 字 😀"
