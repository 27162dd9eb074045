"""Constraints as options, and as a line in the app: the text matches, the mask is shown, errors are one line."""

import json
import re
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from core.sampling.stages.regex import Regex
from tui.app import TokenwalkApp
from tui.dialogs.line import LineScreen

Here = Callable[..., subprocess.CompletedProcess[bytes]]
Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
MODEL = ("--tokenizer", "bytes", "--device", "cpu")
END = "<|endoftext|>"


def text_of(run_here: Here, *arguments: str) -> str:
    done = run_here("generate", "oat", *MODEL, "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["reason"] == "stop"
    return str(last["text"]).removesuffix(END)


def test_options_hold_the_text_to_a_form(run_here: Here, tmp_path: Path) -> None:
    """A regular expression, choices, a schema, a grammar; each ends by itself."""
    (tmp_path / "s.json").write_text('{"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2}')
    (tmp_path / "g.gbnf").write_text('root ::= [0-9] ("+" [0-9])?')
    assert re.fullmatch("[a-c]{4}", text_of(run_here, "--regex", "[a-c]{4}"))
    assert text_of(run_here, "--choice", "it's", "--choice", 'a "b"; c') in ("it's", 'a "b"; c')
    assert all(
        isinstance(each, bool) for each in json.loads(text_of(run_here, "--json-schema", str(tmp_path / "s.json")))
    )
    assert re.fullmatch(r"[0-9](\+[0-9])?", text_of(run_here, "--grammar", str(tmp_path / "g.gbnf")))
    assert re.fullmatch("[a-c]{4}", text_of(run_here, "--sampler", "regex='[a-c]{4}',top_k=3,temp=0.8"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--regex", "(a"], "the regular expression '(a' is invalid: unclosed group"),
        (["--regex", ""], "is empty"),
        (["--json-schema", "none.json"], "none.json is not a file"),
        (["--grammar", "/dev/zero"], "is not a file"),
        (["--regex", "[^\\x00-\\U0010FFFF]"], "no token can follow"),
        (["--sampler", "choice=13"], "in quotes"),
    ],
)
def test_what_cannot_be_used_is_one_line(run_here: Here, arguments: list[str], named: str) -> None:
    done = run_here("generate", "oat", *MODEL, *arguments)
    assert done.returncode == 2
    assert done.stderr.decode().count("\n") == 1
    assert named in done.stderr.decode()


async def test_a_line_in_the_app_holds_the_text_from_the_cursor_on(real: Make, press: Go, write: Go) -> None:
    """Two free tokens, then digits only; the chart shows what is cut; an empty line lifts it."""
    async with real("oat milk").run_test(size=(120, 36)) as pilot:
        app = pilot.app
        await press(pilot, "escape", "space", "space", "G", "ctrl+u")
        await write(pilot, "regex (a")
        await press(pilot, "enter")
        assert isinstance(app.screen, LineScreen)
        await press(pilot, "ctrl+u")
        await write(pilot, "regex [0-9]{5,}")
        await press(pilot, "enter", "space", "space", "space")
        snapshot = app.frame.snapshot
        assert snapshot.sampler.stage(Regex) == Regex(text="[0-9]{5,}", start=2)
        assert all(token.piece in (*(b"%d" % n for n in range(10)), END.encode()) for token in snapshot.tokens[10:])
        assert snapshot.chart.stages[0].removed_mass > 0.5
        await press(pilot, "G", "ctrl+u", "enter")
        assert app.frame.snapshot.sampler.stage(Regex) is None
        assert app.frame.snapshot.chart.kept == 257


async def test_a_token_taken_against_the_constraint_is_said_in_the_chart(real: Make, press: Go, write: Go) -> None:
    async with real("oat milk").run_test(size=(120, 36)) as pilot:
        app = pilot.app
        await press(pilot, "escape", "G", "ctrl+u")
        await write(pilot, "regex [0-9]+")
        await press(pilot, "enter", "1")
        assert "does not match the regular expression" in app.frame.snapshot.chart.problem
        await press(pilot, "u", "space")
        assert app.frame.snapshot.tokens[-1].piece.isdigit()
