"""Continuations, runs with a stop condition, the sampler, scores, guesses and text files, by keys."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widget import Widget

from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from tui import lenses
from tui.app import TokenwalkApp
from tui.dialogs.line import LineScreen
from tui.drawing.text import label
from tui.lenses.chart import ChartLens
from tui.lenses.continuations import ContinuationsLens
from tui.lenses.guess import GuessLens
from tui.lenses.sampler import SamplerLensPage
from tui.lenses.score import ScoreLens

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Lines = Callable[[Any], list[str]]

PROMPT = "oat milk"
SIZE = (120, 36)
SIZES = [(60, 18), (80, 24), SIZE]


def ids(app: TokenwalkApp) -> list[int]:
    return [token.id for token in app.frame.snapshot.tokens]


def whole(panel: Widget) -> str:
    """All lines of a panel, visible or not."""
    height = max(panel.virtual_size.height, panel.scrollable_content_region.height)
    panel.scroll_to(y=0, animate=False, immediate=True)
    return "\n".join(panel.render_line(y).text for y in range(height))


# Continuations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_continuations_are_sampled_chosen_and_walked(
    real: Make, settle: Go, press: Go, walk: Any, size: tuple[int, int]
) -> None:
    async with real(PROMPT, count=6).run_test(size=size) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "n")
        assert isinstance(app.lens, ContinuationsLens)
        alone = [walk(sampler=Sampler(seed=seed)) for seed in range(5)]
        texts = [tuple(token.piece for token in session.generate(6)) for session in alone]
        assert [each.pieces for each in app.frame.answer.continuations] == texts
        assert ids(app) == list(PROMPT.encode())
        await press(pilot, "down", "down", "enter")
        assert ids(app) == [token.id for token in alone[2].tokens]
        await press(pilot, "u", "5")
        assert ids(app) == [token.id for token in alone[4].tokens]
        await press(pilot, "u", "o", "enter")
        assert "samples" in whole(app.lens)
        assert "5/5" in whole(app.lens)


async def test_fewer_continuations_move_the_cursor_to_the_last(real: Make, settle: Go, press: Go) -> None:
    async with real(PROMPT, count=3).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "n", *["down"] * 9)
        assert app.lens.cursor == 4
        await press(pilot, "shift+left", "shift+left", "shift+left", "n")
        assert len(app.frame.answer.continuations) == 2
        assert app.lens.cursor == 1
        await press(pilot, "enter")
        assert len(ids(app)) == len(PROMPT) + 3


async def test_greedy_continuations_say_that_they_are_equal(real: Make, settle: Go, press: Go) -> None:
    """The line stands above the texts, and rows are chosen as before."""
    async with real(PROMPT, count=3, sampler=Sampler.of(temperature=0)).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "n")
        assert "greedy: all are equal; P chooses a sampler" in whole(app.lens)
        await press(pilot, "down", "enter")
        assert len(ids(app)) == len(PROMPT) + 3


async def test_another_tokenizer_clears_the_continuations(real: Make, settle: Go, press: Go) -> None:
    """The new tokenizer starts a new tree, so the lens lists nothing of the old one."""
    async with real(PROMPT, count=3).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "n")
        app.do("choosing.load", ModelChoice(device="cpu"))
        await settle(pilot)
        assert app.frame.model.vocab_size == 100_277
        assert "n samples 5 continuations here" in whole(app.lens)
        await press(pilot, "enter", "3")
        assert not app._notifications


# Run until ----------------------------------------------------------------------------------------------------------


async def test_a_condition_stops_the_run_and_the_status_says_which(
    real: Make, settle: Go, press: Go, write: Go, screen_lines: Lines
) -> None:
    async with real(PROMPT).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "slash", *["backspace"] * 40)
        for bad, message in (
            ("", "is not a stop condition"),
            ("entropy is high", "is not a stop condition"),
            ("0 tokens", "entropy > 3"),
        ):
            await write(pilot, bad)
            await press(pilot, "enter")
            assert isinstance(app.screen, LineScreen)
            assert message in "".join(screen_lines(app))
            await press(pilot, *["backspace"] * 40)
        await write(pilot, "7 tokens; entropy > 99; text ';;;'")
        await press(pilot, "enter")
        assert len(app.screen_stack) == 1
        assert len(ids(app)) == len(PROMPT) + 7
        assert "7 tokens without entropy > 99 or text ';;;'" in app.status.render().plain
        await press(pilot, "slash", *["backspace"] * 40)
        await write(pilot, "entropy > 0")
        await press(pilot, "enter")
        assert len(ids(app)) == len(PROMPT) + 8
        assert "stopped: entropy > 0 (" in app.status.render().plain
        await press(pilot, "space")
        assert "stopped" not in app.status.render().plain


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_a_narrow_status_line_shows_the_stop_condition(
    real: Make, settle: Go, press: Go, write: Go, size: tuple[int, int]
) -> None:
    async with real(PROMPT).run_test(size=size) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "slash", *["backspace"] * 40)
        await write(pilot, "surprisal > 0")
        await press(pilot, "enter")
        status = app.status.render()
        assert "stopped: surprisal > 0 (" in status.plain
        assert status.cell_len <= size[0]


async def test_a_run_with_a_condition_can_be_paused(real: Make, settle: Go, press: Go, write: Go, until: Go) -> None:
    async with real(PROMPT).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "slash", *["backspace"] * 40)
        await write(pilot, "token 999999; 99999 tokens")
        app.simulate_key("enter")
        await until(lambda: app.frame.activity == "generating" and app.frame.generated > 5)
        await press(pilot, "g")
        assert app.frame.activity == "idle"
        assert len(PROMPT) + 5 < len(ids(app)) < 99_999
        assert app.frame.snapshot.stopped == ""


# The sampler --------------------------------------------------------------------------------------------------------


def count_forwards(app: TokenwalkApp, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of tokens of each forward pass from now on."""
    transformer, calls = app.runner._session.model.transformer, list[int]()
    hidden = transformer.hidden

    def watched(window: Any, *rest: Any) -> Any:
        calls.append(window.shape[1])
        return hidden(window, *rest)

    monkeypatch.setattr(transformer, "hidden", watched)
    return calls


async def test_sampler_settings_are_explained_without_running_the_model(
    real: Make, settle: Go, press: Go, monkeypatch: pytest.MonkeyPatch, screen_lines: Lines
) -> None:
    async with real(PROMPT, sampler=Sampler.of(top_k=20, top_p=0.9)).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        app.do("lens.look", "sampler")
        await press(pilot, "space", "left")
        assert isinstance(app.lens, SamplerLensPage)
        calls, before = count_forwards(app, monkeypatch), ids(app)
        knobs = ["left_square_bracket", "less_than_sign", "left_curly_bracket", "right_parenthesis", "o"]
        for key in knobs:
            shown = screen_lines(app)
            await press(pilot, key)
            assert screen_lines(app) != shown
            assert app.frame.answer.sampler == app.sampler
        assert str(app.sampler) == "top_k=10,top_p=0.85,min_p=0.05,temp=0.9"
        await press(pilot, "o")
        assert str(app.sampler) == "temp=0.9,top_k=10,top_p=0.85,min_p=0.05"
        assert (calls, ids(app)) == ([], before)
        await press(pilot, "right", "space")
        assert calls


async def test_the_sampler_shows_the_draw_that_came(real: Make, settle: Go, press: Go) -> None:
    """Before a sampled token the lens shows the u that drew it; a step there draws with another u."""
    async with real(PROMPT).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        app.do("lens.look", "sampler")
        await press(pilot, "space", "left")
        token = app.frame.snapshot.tokens[-1]
        assert (app.frame.answer.u, app.frame.answer.drawn.id) == (token.u, token.id)
        assert f"u {token.u:.4f} draws {label(token.piece)}" in whole(app.lens)


# Score, guess, text -------------------------------------------------------------------------------------------------


async def test_the_score_goes_to_the_worst_token(real: Make, settle: Go, press: Go) -> None:
    async with real("oat milk in my coffee, please").run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, *["full_stop"] * lenses.found().index(ScoreLens))
        assert isinstance(app.lens, ScoreLens)
        worst = app.frame.answer.worst
        scores = [token.score.surprisal_bits for token in app.frame.snapshot.tokens[1:]]
        assert scores[worst[0] - 1] == max(scores)
        await press(pilot, "down", "down", "enter")
        assert app.frame.snapshot.cursor == worst[2]
        assert app.frame.snapshot.chart.taken.id == ids(app)[worst[2]]
        lines = whole(app.lens).splitlines()
        head = next(line for line in lines if "surprised" in line or "surprising" in line)
        row = next(line for line in lines if line.startswith(f"{worst[0] + 1:>6} "))
        for name in ("p", "rank", "bits"):
            at = head.rindex(f" {name}") + len(name)
            assert row[at] != " "
            assert row[at + 1 : at + 2] in ("", " ")


async def test_columns_stay_aligned_with_wide_characters(real: Make, settle: Go, press: Go, until: Go) -> None:
    """CJK characters before a token take two cells each; the numbers stay in their columns."""
    from rich.cells import cell_len

    text = "我喜欢在咖啡里加燕麦奶 and 我喜欢"
    async with real(text, ModelChoice(device="cpu", tokenizer="cl100k")).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        app.do("lens.turn_to", ScoreLens)
        await settle(pilot)
        await until(lambda: whole(app.lens).strip())
        rows = [line for line in whole(app.lens).splitlines() if line[:6].strip("› ").isdigit()]
        assert len(rows) == app.frame.answer.measured
        ends = {cell_len(row.rstrip()) for row in rows}
        assert len(ends) == 1
        assert {cell_len(row[: row.rindex("%")]) for row in rows if "%" in row} == {next(iter(ends)) - 18}


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_the_next_token_is_hidden_until_it_is_guessed(
    real: Make, settle: Go, press: Go, write: Go, panel_lines: Lines, screen_lines: Lines, size: tuple[int, int]
) -> None:
    async with real("oats ZQX", count=2).run_test(size=size) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "home", "v")
        assert isinstance(app.lens, GuessLens)
        assert not app.candidates.display
        app.prompt.display = False  # a person knows what they wrote
        await press(pilot, "right")
        screen = "".join(screen_lines(app)).replace("ZQX", "" if size[1] < 24 else "ZQX")
        assert "Z" not in "".join(panel_lines(app.tokens))
        assert "Z" not in "".join(panel_lines(app.generation))
        assert "%" not in screen
        await press(pilot, "enter")
        await write(pilot, "t")
        await press(pilot, "enter")
        (guess,) = app.frame.answer
        assert (guess.position, guess.came.id, guess.likeliest.rank) == (2, ord("t"), 0)
        assert app.frame.snapshot.cursor == 3
        assert "1 right" in whole(app.lens)
        await press(pilot, "enter", "enter")
        assert len(app.frame.answer) == 1
        await press(pilot, "v")
        assert app.candidates.display
        assert "Z" in "".join(token.piece.decode() for token in app.tokens._tokens)


async def test_a_text_is_opened_and_scored(real: Make, settle: Go, press: Go, write: Go, tmp_path: Path) -> None:
    (tmp_path / "a text").write_text("oats, then milk\nand coffee", "utf-8")
    async with real(PROMPT).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "T")
        await write(pilot, str(tmp_path / "a text"))
        await press(pilot, "enter")
        assert app.prompt.text == "oats, then milk\nand coffee"
        assert ids(app) == list(app.prompt.text.encode())
        assert isinstance(app.lens, ScoreLens)
        assert app.frame.answer.measured == len(ids(app)) - 1
        assert app.focused is app.lens


def bad_files(folder: Path) -> dict[str, str]:
    """Names of unreadable files, and words of the error of each."""
    (folder / "empty").write_text("")
    (folder / "bytes").write_bytes(b"ab\xff")
    (folder / "long").write_bytes(b"a" * 4_000_001)
    (folder / "[red]b").write_bytes(b"\xff")
    return {
        "": "names no file",
        str(folder): "is a folder",
        str(folder / "not here"): "cannot be read",
        str(folder / "empty"): "is empty",
        str(folder / "bytes"): "byte 3 is not valid",
        str(folder / "long"): "4,000,000 bytes",
        str(folder / "[red]b"): "[red]b",
        "/dev/zero": "a device or a pipe",
        "~nobody-of-that-name/x": "no such user",
        "a\0b": "names no file",
    }


async def test_an_unreadable_text_file_is_one_line_in_the_dialog(
    real: Make, settle: Go, press: Go, screen_lines: Lines, tmp_path: Path
) -> None:
    async with real(PROMPT).run_test(size=(160, 36)) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "T")
        for name, message in bad_files(tmp_path).items():
            app.screen.query_one("Input").value = name
            await press(pilot, "enter")
            assert isinstance(app.screen, LineScreen)
            assert message in str(app.screen._problem.render())
            assert "\n" not in str(app.screen._problem.render())
        await press(pilot, "escape")
        assert app.prompt.text == PROMPT
        assert isinstance(app.lens, ChartLens)
