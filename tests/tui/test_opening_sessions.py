"""A saved walk is opened where it was saved, also without its model."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len
from saved_walks import Go, Make, chosen, files, notes, read, saved_as_it_is, walk_of
from textual.widgets import OptionList

from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from core.sessions import storage
from tui import autosave
from tui.dialogs.choose import ChooseScreen
from tui.reports.sessions import session_description


@pytest.fixture
async def saved(saving: Make, settle: Go, press: Go, until: Go, tmp_path: Path) -> Path:
    """The file of a walk with two branches, a sampler of its own, and a place in its middle."""
    app = saving("oat", sampler=Sampler.of(top_k=40, seed=5))
    async with app.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        await press(pilot, *["space"] * 4, "left", "left", "r", "space", "left")
        await saved_as_it_is(app, tmp_path, until)
    assert app.autosave.close(10)
    return files(tmp_path)[0]


async def test_a_saved_walk_continues_at_the_same_position(
    saved: Path, saving: Make, settle: Go, press: Go, until: Go
) -> None:
    before, stood = saved.read_bytes(), read(saved)
    async with saving(resume=saved).run_test(size=(100, 30)) as pilot:
        app = pilot.app
        await settle(pilot)
        assert walk_of(app) == stood
        assert (app.sampler, app.choice.tokenizer, app.prompt.text) == (Sampler.of(top_k=40, seed=5), "bytes", "oat")
        assert not app.writing
        assert app.frame.snapshot.cursor == stood.cursor < len(stood.path())
        assert app.frame.snapshot.chart
        assert saved.read_bytes() == before
        await press(pilot, "end", "space")
        await until(lambda: read(saved) == walk_of(app))  # in its own file
        assert len(read(saved).rows) == len(stood.rows) + 1


async def test_a_file_outside_the_folder_is_not_written(
    saved: Path, saving: Make, settle: Go, press: Go, until: Go, tmp_path: Path
) -> None:
    elsewhere = saved.rename(tmp_path / "mine.json")
    before = elsewhere.read_bytes()
    async with saving(resume=elsewhere).run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        await press(pilot, "space")
        await saved_as_it_is(pilot.app, tmp_path, until)
    assert elsewhere.read_bytes() == before


async def test_ctrl_o_lists_saved_sessions_and_opens_one(
    saved: Path, saving: Make, settle: Go, press: Go, until: Go, tmp_path: Path
) -> None:
    (saved.parent / "broken.json").write_text(saved.read_text("utf-8")[:600])
    async with saving("else").run_test(size=(100, 30)) as pilot:
        app = pilot.app
        await settle(pilot)
        await pilot.press("ctrl+o")
        await until(lambda: isinstance(app.screen, ChooseScreen) and app.screen.is_mounted)
        broken, good, other = app.screen.query_one(OptionList).options
        assert "another file" in str(other.prompt)
        assert (broken.disabled, good.disabled) == (True, False)
        assert "cut short" in " ".join(str(broken.prompt).split())
        assert "oat" in str(good.prompt)
        assert "2 branches" in " ".join(str(good.prompt).split())
        await chosen(pilot, until, "oat")
        await until(lambda: app.frame.opened == 1)
        await settle(pilot)
        assert walk_of(app) == read(saved)
        assert app.prompt.text == "oat"
        await pilot.press("ctrl+o")
        await until(lambda: isinstance(app.screen, ChooseScreen) and app.screen.is_mounted)
        assert str(app.screen.query_one(OptionList).options[-2].prompt)[1:].startswith("●")


async def test_the_present_walk_is_saved_when_another_is_opened(
    saved: Path, saving: Make, settle: Go, press: Go, until: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autosave, "INTERVAL", 1000.0)
    async with saving("else").run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        await press(pilot, "space")
        await press(pilot, "space", "space")
        before = walk_of(pilot.app)
        pilot.app.runner.open(saved)
        await until(lambda: pilot.app.frame.opened)
        await until(lambda: before in [read(each) for each in files(tmp_path)])


async def test_without_saved_sessions_a_path_can_be_given(saving: Make, settle: Go, until: Go) -> None:
    async with saving("oat").run_test() as pilot:
        await settle(pilot)
        await pilot.press("ctrl+o")
        await until(lambda: isinstance(pilot.app.screen, ChooseScreen) and pilot.app.screen.is_mounted)
        (other,) = pilot.app.screen.query_one(OptionList).options
        assert "another file" in str(other.prompt)


async def test_a_damaged_file_leaves_the_walk_unchanged(saved: Path, saving: Make, settle: Go, until: Go) -> None:
    saved.write_text("{")
    async with saving("else").run_test() as pilot:
        app = pilot.app
        await settle(pilot)
        before = walk_of(app)
        app.runner.open(saved)
        await until(lambda: any("cut short" in note for note in notes(app)))
        await settle(pilot)
        assert walk_of(app) == before
        assert saved.read_text() == "{"


async def test_a_walk_without_its_model_is_shown(
    saved: Path, saving: Make, settle: Go, press: Go, until: Go, screen_lines: Callable[..., list[str]]
) -> None:
    values = json.loads(saved.read_text("utf-8"))
    values["models"][0]["name"] = values["models"][0]["choice"]["name"] = "nobody/nothing-of-the-kind"
    saved.write_text(json.dumps(values))
    before = saved.read_bytes()
    async with saving(resume=saved).run_test(size=(120, 36)) as pilot:
        app = pilot.app
        await until(lambda: any("not on this machine" in note for note in notes(app)))
        await settle(pilot)
        assert app.frame.snapshot.tokens == read(saved).path()
        await press(pilot, "b")
        shown = "\n".join(screen_lines(app))
        assert "nobody/nothing-of-the-kind (not here)" in shown
        assert re.search(r"branches · \d+/\d+ · 4", shown)
        assert app.candidates.border_title == "next token"
        tokens = app.frame.snapshot.tokens
        for key in ("space", "g", "r"):
            await press(pilot, key)
            assert app.frame.snapshot.tokens == tokens
        await press(pilot, "b", "home", "right", "end", "left")
        assert app.frame.snapshot.cursor == len(tokens) - 1
        assert app.is_running
        assert saved.read_bytes() == before
        app.do("choosing.load", ModelChoice(name="model2", tokenizer="bytes", device="cpu"))  # the same tokenizer
        await settle(pilot)
        await press(pilot, "end", "space")
        assert [token.id for token in app.frame.snapshot.tokens[:-1]] == [token.id for token in tokens]
        await until(lambda: len(files(saved.parent.parent)) == 2)  # in a file of its own
        assert saved.read_bytes() == before


async def test_a_list_keeps_its_columns_in_a_small_terminal(saved: Path, saving: Make, settle: Go, until: Go) -> None:
    async with saving("else").run_test(size=(60, 18)) as pilot:
        await settle(pilot)
        await pilot.press("ctrl+o")
        await until(lambda: isinstance(pilot.app.screen, ChooseScreen) and pilot.app.screen.is_mounted)
        await pilot.pause()
        options = pilot.app.screen.query_one(OptionList)
        width = options.scrollable_content_region.width
        lines = [line.rstrip() for option in options.options for line in str(option.prompt).split("\n")]
        assert len(lines) > 2
        assert all(cell_len(line) <= width for line in lines)


async def test_a_list_of_hostile_sessions_is_inert(tmp_path: Path) -> None:
    for saved in (
        storage.SavedSession(tmp_path / "a", 0.0, "\x1b[2J\n[/b]字", "\x9b model", 1, 1),
        storage.SavedSession(tmp_path / "\x1b[2J.json", 0.0, problem="a\x1b\nb"),
    ):
        assert all(text.isprintable() for text in session_description(saved))
