"""`--lora PATH[=SCALE]` on the command line: next, compare, generate and replay."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked_python
import pytest

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def lines(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_adapter_changes_the_distribution_by_its_scale(run_here: Run, chat_model: Path, adapter: Path) -> None:
    """1 where none is given; at 0 it is the base to the last digit."""
    command = ("next", "oat", "-m", str(chat_model), "--dtype", "fp32", "--device", "cpu", "--json")
    plain, whole, one, half, off = (
        lines(run_here(*command, *more))[0]["top"]
        for more in ((), ("--lora", f"{adapter}"), *(("--lora", f"{adapter}={k}") for k in ("1", "0.5", "0")))
    )
    assert whole == one != plain
    assert half not in (plain, whole)
    assert off == plain


def test_a_model_is_compared_with_itself_without_the_adapter(run_here: Run, chat_model: Path, adapter: Path) -> None:
    """`--with` the same name, which has no adapter, or `--with-lora` at another scale; A's own where B is not named."""
    model = ("-m", str(chat_model), "--lora", str(adapter), "--dtype", "fp32")
    command = ("compare", "oat", *model, "--json")
    (found,) = lines(run_here(*command, "--with", str(chat_model)))
    assert found["kl_ab_bits"] > 0.01
    assert found["a"]["lora"] == {"path": str(adapter), "scale": 1.0}
    assert "lora" not in found["b"]
    (half,) = lines(run_here(*command, "--with-lora", f"{adapter}=0.5"))
    assert 0 < half["kl_ab_bits"] < found["kl_ab_bits"]
    assert half["b"]["lora"]["scale"] == 0.5
    (same,) = lines(run_here(*command, "--with-device", "cpu"))
    assert same["kl_ab_bits"] == 0
    text = run_here(*command[:-1], "--with", str(chat_model)).stdout.decode()
    assert f"+ {adapter.name} fp32 cpu" in text


def test_every_run_names_the_adapter_in_its_first_line(run_here: Run, chat_model: Path, adapter: Path) -> None:
    model = ("-m", str(chat_model), "--lora", f"{adapter}=0.5", "-n", "1", "--json")
    firsts = [lines(run_here(command, "oat", *model))[0] for command in ("generate", "search")]
    assert [first["lora"] for first in firsts] == [{"path": str(adapter), "scale": 0.5}] * 2


def test_a_saved_walk_names_its_adapter_and_replays(
    run_here: Run, chat_model: Path, adapter: Path, tmp_path: Path
) -> None:
    """In the program itself: the same again with the adapter, different without it."""
    file = tmp_path / "walk.json"
    model = ("-m", str(chat_model), "--lora", f"{adapter}=0.5")
    program = (sys.executable, "-m", "tui", "generate", "oat", "-n", "6", "--save", str(file), *model)
    assert forked_python.run(program).returncode == 0
    (saved,) = json.loads(file.read_text())["models"]
    assert (saved["choice"]["lora"], saved["choice"]["lora_scale"]) == (str(adapter), 0.5)
    assert run_here("replay", str(file)).returncode == 0
    assert run_here("replay", str(file), "--lora", f"{adapter}=0").returncode == 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("/nowhere/oat", ("there is no adapter", "/nowhere/oat")),
        ("/nowhere/oat=0.5", ("there is no adapter", "/nowhere/oat")),
        ("{adapter}=half", ("scale", "'half'", "PATH=0.5")),
        ("{adapter}=nan", ("scale", "'nan'")),
        ("=0.5", ("names no adapter",)),
        ("{model}", ("not a LoRA adapter", "adapter_config.json")),
    ],
)
def test_what_is_no_adapter_is_refused_in_one_line(
    run_here: Run, chat_model: Path, adapter: Path, value: str, words: tuple[str, ...]
) -> None:
    lora = value.format(adapter=adapter, model=chat_model)
    done = run_here("next", "oat", "-m", str(chat_model), "--lora", lora)
    error = done.stderr.decode()
    assert (done.returncode, done.stdout, len(error.splitlines())) == (2, b"", 1)
    assert all(word in error for word in words), error


def test_a_rung_takes_no_adapter(run_here: Run, adapter: Path) -> None:
    done = run_here("next", "oat", "-m", "model5", "--lora", str(adapter))
    assert done.returncode == 2
    assert b"leave out --lora" in done.stderr


def test_a_path_with_an_equals_sign_is_taken_whole(
    run_here: Run, chat_model: Path, adapter: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "oat=2"
    folder.symlink_to(adapter)
    command = ("next", "oat", "-m", str(chat_model), "--json", "--lora")
    assert lines(run_here(*command, str(folder))) == lines(run_here(*command, str(adapter)))
