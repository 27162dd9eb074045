"""Model, device, theme, help and palette by keyboard; a choice that cannot be loaded leaves the app running."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static

from core.loading.choice import Hyperparameters, ModelChoice
from tui.app import TokenwalkApp
from tui.dialogs.models import ModelsScreen
from tui.keys import GROUPS, WALK
from tui.screens.help import HelpScreen
from tui.screens.palette import Palette
from tui.settings import Settings

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Lines = Callable[[Widget], list[str]]

BYTES = ModelChoice(tokenizer="bytes", device="cpu")
SIZE = (120, 36)


def ids(app: TokenwalkApp) -> list[int]:
    return [token.id for token in app.frame.snapshot.tokens]


async def test_the_walk_continues_in_another_model(real: Make, settle: Go, press: Go) -> None:
    async with real("oat milk", count=5).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "g", "left", "left")
        before, chart = ids(app), app.frame.snapshot.chart
        await press(pilot, "m")
        assert isinstance(app.screen, ModelsScreen)
        assert app.screen.query_one(OptionList).option_count >= 5
        await pilot.press("down", "down", "enter")
        await settle(pilot)
        assert app.frame.model.name == "model3"
        assert "model3" in app.status.render().plain
        assert ids(app) == before
        assert app.frame.snapshot.cursor == len(before) - 2
        assert app.frame.snapshot.chart != chart
        assert all(token.score for token in app.frame.snapshot.tokens[1:])
        await press(pilot, "end", "space")
        assert len(ids(app)) == len(before) + 1


async def test_the_present_model_is_marked_and_chosen_again_changes_nothing(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=SIZE) as pilot:
        await pilot.pause()
        loads = len(pilot.app.runner.loads)
        await pilot.press("m")
        options = pilot.app.screen.query_one(OptionList)
        prompts = [str(options.get_option_at_index(n).prompt) for n in range(options.option_count)]
        assert ["●" in text for text in prompts].count(True) == 1
        assert "●" in prompts[0]
        assert options.highlighted == 0
        await pilot.press("enter")
        assert len(pilot.app.screen_stack) == 1
        assert len(pilot.app.runner.loads) == loads


async def test_the_mark_of_the_present_model_can_be_seen_under_the_cursor(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=SIZE) as pilot:
        await pilot.pause()
        await pilot.press("m")
        strips = pilot.app.screen._compositor.render_strips()
        (style,) = [segment.style for strip in strips for segment in strip if "●" in segment.text]
        assert style.color != style.bgcolor


@pytest.mark.parametrize("key", ["m", "d", "s", "question_mark"])
async def test_escape_leaves_a_dialog_and_changes_nothing(scripted: Make, scenes: Any, key: str) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=SIZE) as pilot:
        await pilot.pause()
        loads, asked = len(pilot.app.runner.loads), len(pilot.app.runner.operations)
        await pilot.press(key)
        assert len(pilot.app.screen_stack) == 2
        await pilot.press("space", "escape")
        assert len(pilot.app.screen_stack) == 1
        assert (len(pilot.app.runner.loads), len(pilot.app.runner.operations)) == (loads, asked)


async def test_the_walk_continues_in_another_dtype(real: Make, settle: Go, press: Go) -> None:
    async with real("oat milk", count=3).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "g", "left")
        before, chart = ids(app), app.frame.snapshot.chart
        await press(pilot, "d")
        await pilot.press("down", "enter")
        await settle(pilot)
        assert app.frame.model.dtype == "bf16"
        assert "cpu bf16" in app.status.render().plain
        assert ids(app) == before
        assert app.frame.snapshot.cursor == len(before) - 1
        near = {c.id: c.logit for c in app.frame.snapshot.chart.candidates}
        far = {c.id: c.logit for c in chart.candidates}
        assert near != far
        shared = near.keys() & far.keys()
        assert len(shared) > 30
        assert max(abs(near[id] - far[id]) for id in shared) < 0.1
        await press(pilot, "d")
        await pilot.press("up", "enter")
        await settle(pilot)
        assert app.frame.snapshot.chart == chart


async def test_devices_that_are_not_here_say_why_and_cannot_be_chosen(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=SIZE) as pilot:
        await pilot.pause()
        await pilot.press("d")
        options = pilot.app.screen.query_one(OptionList)
        rows = [options.get_option_at_index(n) for n in range(options.option_count)]
        assert [row.disabled for row in rows] == [False, False, False, True]
        assert "this build of torch is without CUDA" in " ".join(str(rows[3].prompt).split())
        assert options.highlighted == 0


CANNOT = {
    "device": replace(BYTES, device="cuda:99"),
    "heads": replace(BYTES, name="model5", changes=Hyperparameters(heads=3)),
    "name": replace(BYTES, name="model99"),
    "tokenizer": replace(BYTES, tokenizer="morse"),
}


@pytest.mark.parametrize("choice", CANNOT.values(), ids=CANNOT)
async def test_a_model_that_cannot_be_loaded_is_explained_in_one_line(
    real: Make, until: Go, panel_lines: Lines, choice: ModelChoice
) -> None:
    async with real("oat", choice).run_test(size=SIZE) as pilot:
        app = pilot.app
        await until(lambda: app._notifications)
        await pilot.pause()
        assert app.is_running
        messages = {note.message for note in app._notifications}
        assert len(messages) == 1
        assert "\n" not in messages.pop()
        assert app.frame.activity == "idle"
        assert "m chooses a model" in panel_lines(app.candidates)[0]
        await pilot.press("space", "g", "enter", "left", "u", "left_square_bracket", "tab")
        assert app.is_running


@pytest.mark.parametrize(("cannot", "keys"), [("heads", "m"), ("device", "d"), ("name", "m")])
async def test_a_model_that_loads_follows_one_that_does_not(
    real: Make, settle: Go, until: Go, press: Go, cannot: str, keys: str
) -> None:
    async with real("oat", CANNOT[cannot]).run_test(size=SIZE) as pilot:
        app = pilot.app
        await until(lambda: app._notifications)
        await press(pilot, keys)
        await pilot.press("home", "enter")
        await settle(pilot)
        assert app.frame.model is not None
        assert ids(app) == list(b"oat")
        await press(pilot, "space")
        assert len(ids(app)) == 4


async def test_a_bad_choice_leaves_the_model_before_it_running(
    real: Make, settle: Go, press: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with real("oat").run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)

        def broken(choice: ModelChoice, report: object = None) -> object:
            raise MemoryError("no room")

        monkeypatch.setattr("core.loading.models.load_model", broken)
        await press(pilot, "m")
        await pilot.press("down", "enter")
        await settle(pilot)
        assert [note.message for note in app._notifications] == [
            "there is not enough memory; the walk is unchanged; a smaller model or shorter prompt may fit"
        ]
        assert app.frame.model.name == "model1"
        await press(pilot, "space")
        assert len(ids(app)) == 4


async def test_the_help_shows_every_key(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(80, 24)) as pilot:
        await pilot.press("question_mark")
        assert isinstance(pilot.app.screen, HelpScreen)
        shown = " ".join(" ".join(str(static.content) for static in pilot.app.screen.query(Static)).split())
        for binding in WALK:
            if any(binding.id in group for group in GROUPS.values()) and binding.id != "walk.take_1":
                in_the_course = binding.id.startswith("course.") and binding.id != "course.open"
                assert (binding.tooltip in shown) is not in_the_course
        for text in ("↑ k", "[", "^r", "1 … 9", "escape", "ctrl+p"):
            assert text in shown
        await pilot.press("question_mark")
        assert len(pilot.app.screen_stack) == 1


async def test_keys_can_be_changed_and_the_help_knows(scripted: Make, scenes: Any) -> None:
    settings = Settings(keys={"walk.step": "n"})
    async with scripted(scenes.oat_milk(), text="a", settings=settings).run_test(size=(80, 24)) as pilot:
        await pilot.press("n")
        assert len(pilot.app.runner.operations) == 1
        await pilot.press("space")
        assert len(pilot.app.runner.operations) == 1
        await pilot.press("question_mark")
        shown = "\n".join(str(static.content) for static in pilot.app.screen.query(Static))
        assert any(line.split()[0] == "n" and "Sample one token" in line for line in shown.split("\n") if line.strip())


async def test_the_palette_lists_every_action(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="").run_test(size=SIZE) as pilot:
        titles = {command.title for command in pilot.app.commands()}
        shown = {binding.tooltip for binding in WALK if any(binding.id in group for group in GROUPS.values())}
        assert shown - titles <= {"Take candidate 1"}
        await pilot.press("ctrl+p")
        await pilot.pause()
        assert isinstance(pilot.app.screen, Palette)


@pytest.mark.parametrize("text", ["", "a"], ids=["write", "walk"])
async def test_an_action_of_the_palette_acts_in_both_modes(scripted: Make, scenes: Any, until: Go, text: str) -> None:
    async with scripted(scenes.oat_milk(), text=text).run_test(size=SIZE) as pilot:
        app = pilot.app
        await pilot.pause()
        assert app.writing is (text == "")
        before = len(app.runner.operations)
        await pilot.press("ctrl+p")
        app.screen.query_one(Input).value = "Sample one token"
        await until(lambda: app.screen.query_one(OptionList).option_count == 1)
        await pilot.press("enter")
        await until(lambda: len(app.screen_stack) == 1)
        await pilot.pause()
        assert len(app.runner.operations) == before + 1


async def test_a_picture_of_the_screen_is_written(
    scripted: Make, scenes: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with scripted(scenes.oat_milk(), text="a").run_test(size=SIZE) as pilot:
        await pilot.pause()
        pilot.app.do("sessions.picture")
        await pilot.pause()
        (file,) = tmp_path.iterdir()
        assert file.suffix == ".svg"
        assert "model1" in file.read_text()
        assert [file.name in note.message for note in pilot.app._notifications] == [True]


async def test_a_picture_that_cannot_be_written_is_explained(
    scripted: Make, scenes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(28, os.strerror(28))

    async with scripted(scenes.oat_milk(), text="a").run_test(size=SIZE) as pilot:
        monkeypatch.setattr(pilot.app, "save_screenshot", full)
        pilot.app.do("sessions.picture")
        await pilot.pause()
        (note,) = pilot.app._notifications
        assert os.strerror(28) in note.message


@pytest.mark.parametrize(
    ("theme", "used", "dark"),
    [
        ("tokenwalk-light", "tokenwalk-light", False),
        ("tokenwalk-dark", "tokenwalk-dark", True),
        ("nord", "nord", True),
        ("no such theme", "tokenwalk-dark", True),
    ],
)
async def test_themes(scripted: Make, scenes: Any, theme: str, used: str, dark: bool) -> None:
    async with scripted(scenes.oat_milk(), text="a", settings=Settings(theme=theme)).run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert pilot.app.theme == used
        assert pilot.app.current_theme.dark is dark
        ground = pilot.app.screen.background_colors[1]
        assert (ground.brightness < 0.5) is dark


async def test_a_theme_chosen_while_running_repaints_every_panel(scripted: Make, scenes: Any) -> None:
    def grounds(app: TokenwalkApp) -> dict[str, set[object]]:
        panels = (app.tokens, app.candidates, app.generation)
        return {p.id: {s.style.bgcolor for y in range(6) for s in p.render_line(y) if s.style} for p in panels}

    async with scripted(scenes.oat_milk(), text="a").run_test(size=SIZE) as pilot:
        await pilot.pause()
        dark = grounds(pilot.app)
        pilot.app.theme = "tokenwalk-light"
        await pilot.pause()
        light = grounds(pilot.app)
        assert [name for name in dark if dark[name] & light[name]] == []


async def test_without_colors_signs_mark_everything(
    scripted: Make, scenes: Any, panel_lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    frame = scenes.frame(
        scenes.tokens(["I", " am", " a", " b"]),
        scenes.chart(["a", "b", "c"], [0.5, 0.3, 0.1], kept=2, taken=1),
        cursor=3,
    )
    async with scripted(frame, text="a").run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert pilot.app.no_color
        strips = pilot.app.screen._compositor.render_strips()
        colours = {c for strip in strips for s in strip if s.style for c in (s.style.color, s.style.bgcolor) if c}
        assert all(c.triplet is None or len({*c.triplet}) == 1 for c in colours)
        rows = panel_lines(pilot.app.candidates)
        assert "›" in rows[1]
        assert "▸" in rows[2]
        assert "(10.00%)" in rows[3]
        assert set(panel_lines(pilot.app.tokens)[1]) & set("▁▂▃▄▅▆▇█")
