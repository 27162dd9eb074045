"""`--help` of each command ends with an example that can be run as it stands."""

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.main import get_command

from tui.cli import app
from tui.commands.examples import EXAMPLES

Here = Callable[..., subprocess.CompletedProcess[bytes]]
QUICK = ("tokens", "world", "models", "devices", "next", "lens")
"""Commands whose example runs within seconds and needs no file."""


def commands() -> dict[str, object]:
    return get_command(app).commands  # type: ignore[attr-defined, no-any-return]


def arguments(example: str) -> list[str]:
    """The arguments of an example, after the program's name."""
    program, *arguments = shlex.split(example)
    assert program == "tokenwalk"
    return arguments


def test_each_command_has_an_example() -> None:
    assert set(EXAMPLES) == set(commands())


@pytest.mark.parametrize("name", EXAMPLES)
def test_help_shows_the_example(name: str, run_here: Here) -> None:
    done = run_here(name, "--help")
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"Example: {EXAMPLES[name]}" in " ".join(done.stdout.decode().split())


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_parses(name: str) -> None:
    """Each option and argument is known and has a value of its type."""
    group = get_command(app)
    context = group.make_context("tokenwalk", arguments(EXAMPLES[name]))
    found, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])  # type: ignore[attr-defined]
    assert found == name
    assert command.make_context(name, rest, parent=context).params


@pytest.mark.parametrize("name", QUICK)
def test_the_example_runs(name: str, run_here: Here) -> None:
    done = run_here(*arguments(EXAMPLES[name]))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout


def test_the_examples_of_saved_walks_run(run_here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`replay` and `export` read the file that `generate --save` writes."""
    monkeypatch.chdir(tmp_path)
    saved = run_here("generate", "oat", "-n", "2", "--tokenizer", "bytes", "--device", "cpu", "--save", "walk.json")
    assert saved.returncode == 0
    assert run_here(*arguments(EXAMPLES["export"])).returncode == 0
    assert run_here(*arguments(EXAMPLES["replay"])).returncode in (0, 1)
