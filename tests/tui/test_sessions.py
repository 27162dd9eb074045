"""Walks are saved by key, automatically and at the end; a saved walk continues, or is shown without its model."""

import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from saved_walks import chosen, files, notes, read, saved_as_it_is, walk_of
from textual.widgets import OptionList

from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from core.sessions import record, storage, writer
from tui import autosave
from tui.app import TokenwalkApp
from tui.autosave import Autosave
from tui.dialogs.choose import ChooseScreen
from tui.reports.sessions import session_description

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
OTHER = ModelChoice(device="cpu")
"""Model 1 over cl100k: other tokens."""


@pytest.fixture
def saving(real: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """An app that saves its walks automatically, at intervals of 0.05 seconds."""
    monkeypatch.setattr(autosave, "INTERVAL", 0.05)
    monkeypatch.chdir(tmp_path)
    return lambda text="", **given: real(text, sessions=tmp_path / "sessions", **given)


# Automatically -------------------------------------------------------------------------------------------------------


async def test_a_walk_is_saved_automatically_while_it_changes(
    saving: Make, settle: Go, press: Go, until: Go, tmp_path: Path
) -> None:
    async with saving("oat").run_test(size=(100, 30)) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "right_square_bracket")
        assert files(tmp_path) == []  # a prompt alone is not saved
        for key in ("space", "g", "left", "r", "u"):
            await press(pilot, key)
            await saved_as_it_is(app, tmp_path, until)
        assert len(files(tmp_path)) == 1
        assert (tmp_path / "sessions").stat().st_mode & 0o777 == 0o700
        before = files(tmp_path)[0].stat().st_mtime_ns
        await pilot.press("b", "b", "full_stop", "comma")  # looking is no change
        await settle(pilot)
        assert files(tmp_path)[0].stat().st_mtime_ns == before


async def test_a_run_is_saved_while_it_goes_on(saving: Make, settle: Go, until: Go, tmp_path: Path) -> None:
    async with saving("oat", count=10**6).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        pilot.app.simulate_key("g")
        await until(lambda: files(tmp_path) and len(read(files(tmp_path)[0]).rows) > 30)
        assert pilot.app.frame.activity == "generating"


async def test_closing_the_app_saves_the_last_step(
    saving: Make, settle: Go, press: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autosave, "INTERVAL", 1000.0)
    app = saving("oat")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await press(pilot, "space")
        await press(pilot, "space", "space")
        app.exit()
    assert app.runner.close(10)
    assert app.autosave.close(10)
    assert read(files(tmp_path)[0]) == walk_of(app)
    assert len(read(files(tmp_path)[0]).path()) == 6


async def test_a_slow_disk_delays_no_key(
    saving: Make, settle: Go, press: Go, until: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing hangs; the walk and the screen go on, and the newest state is written in the end."""
    begun, go_on, threads, write = threading.Event(), threading.Event(), set(), writer.write_record

    def hanging(path: Path, walk: record.Record) -> None:
        threads.add(threading.current_thread().name)
        begun.set()
        assert go_on.wait(20)
        write(path, walk)

    monkeypatch.setattr(writer, "write_record", hanging)
    async with saving("oat").run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await press(pilot, "space")
        await until(begun.is_set)
        await press(pilot, "space", "space", "space")
        assert len(pilot.app.frame.snapshot.tokens) == 7
        assert files(tmp_path) == []
        go_on.set()
        await saved_as_it_is(pilot.app, tmp_path, until)
    assert threads == {"autosave"}


async def test_a_folder_that_cannot_be_made_is_explained(
    saving: Make, settle: Go, press: Go, until: Go, tmp_path: Path
) -> None:
    (tmp_path / "sessions").write_text("a file in its place")
    async with saving("oat").run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await press(pilot, "space")
        await until(lambda: any("cannot be made" in note for note in notes(pilot.app)))
        await press(pilot, "space")
        assert len(pilot.app.frame.snapshot.tokens) == 5


async def test_a_file_changed_by_another_program_is_not_overwritten(
    saving: Make, settle: Go, press: Go, until: Go, tmp_path: Path
) -> None:
    """Two apps in one session: the second to write takes another file."""
    async with saving("oat").run_test(size=(80, 24)) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "space")
        await saved_as_it_is(app, tmp_path, until)
        (path,) = files(tmp_path)
        foreign = replace(read(path), cursor=1)
        writer.write_record(path, foreign)
        await press(pilot, "space")
        await until(lambda: len(files(tmp_path)) == 2)
        assert read(path) == foreign
        await until(lambda: walk_of(app) in [read(each) for each in files(tmp_path)])


async def test_another_tokenizer_starts_another_file(
    saving: Make, settle: Go, press: Go, until: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autosave, "INTERVAL", 1000.0)
    async with saving("oat").run_test(size=(80, 24)) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "space")
        await press(pilot, "space", "space", "space")
        before = walk_of(app)
        app.do("choosing.load", OTHER)
        await settle(pilot)
        await until(lambda: app.frame.model.tokenizer == "cl100k" and files(tmp_path))
        await until(lambda: read(files(tmp_path)[0]) == before)
        await press(pilot, "space")
        await until(lambda: len(files(tmp_path)) == 2)


# Saving --------------------------------------------------------------------------------------------------------------


async def test_w_saves_the_walk(real: Make, settle: Go, press: Go, until: Go, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(storage, "default_folder", lambda: tmp_path / "sessions")
    async with real("oat milk").run_test(size=(80, 24)) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "space", "space")
        assert files(tmp_path) == []  # this app saves only by key
        await pilot.press("w")
        await chosen(pilot, until, "save")
        await until(lambda: any("saved as" in note for note in notes(app)))
        assert read(files(tmp_path)[0]) == walk_of(app)
        assert files(tmp_path)[0].name.endswith("-oat-milk.json")
        await pilot.press("w", "enter")
        await until(lambda: len(notes(app)) == 2)
        assert len(files(tmp_path)) == 1  # one walk, one file


@pytest.mark.parametrize(
    ("word", "suffix", "begins"),
    [("JSON Lines", "jsonl", '{"position": 0'), ("CSV", "csv", "position,id"), ("Markdown", "md", "# oat")],
)
async def test_w_exports_the_walk(
    word: str, suffix: str, begins: str, saving: Make, settle: Go, press: Go, until: Go, tmp_path: Path
) -> None:
    async with saving("oat").run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await press(pilot, "space")
        await pilot.press("w")
        await chosen(pilot, until, word)
        await until(lambda: any("written to" in note for note in notes(pilot.app)))
        (path,) = tmp_path.glob(f"*.{suffix}")
        assert path.read_text("utf-8").startswith(begins)


async def test_w_takes_a_picture(saving: Make, settle: Go, until: Go, tmp_path: Path) -> None:
    async with saving("oat").run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("w")
        await chosen(pilot, until, "picture")
        await until(lambda: [*tmp_path.glob("*.svg")])
        (path,) = tmp_path.glob("*.svg")
        await until(lambda: "</svg>" in path.read_text("utf-8"))
        assert "save&#160;or&#160;export" not in path.read_text("utf-8")


async def test_y_copies_the_generated_text(scripted: Make, scenes: Any, until: Go) -> None:
    tokens = (
        scenes.token("prompt "),
        *(
            scenes.token(piece, origin="sampled")
            for piece in ("a\n\tb", "\x1b]52;c;aGk=\x07", b"\xe5\xad", b"\x97\xff")
        ),
    )
    async with scripted(scenes.frame(tokens, scenes.chart(["x"]), prompt_length=1), text="p").run_test() as pilot:
        await pilot.pause()
        await pilot.press("y")
        assert pilot.app.clipboard == "a\n\tb]52;c;aGk=字\\xff"
        assert any("copied" in note for note in notes(pilot.app))


async def test_copying_without_generated_text_says_why(scripted: Make, scenes: Any) -> None:
    frame = scenes.frame((scenes.token("prompt "),), scenes.chart(["x"]))
    async with scripted(frame, text="p").run_test() as pilot:
        await pilot.pause()
        await pilot.press("y")
        assert pilot.app.clipboard == ""
        assert any("nothing is generated" in note for note in notes(pilot.app))


# Opening ------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def saved(saving: Make, settle: Go, press: Go, until: Go, tmp_path: Path) -> Path:
    """The file of a walk with two branches, a sampler of its own, and a place in its middle."""
    app = saving("oat", sampler=Sampler(top_k=40, seed=5))
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
        assert (app.sampler, app.choice.tokenizer, app.prompt.text) == (Sampler(top_k=40, seed=5), "bytes", "oat")
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
        await until(lambda: isinstance(app.screen, ChooseScreen))
        broken, good = app.screen.query_one(OptionList).options
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
        await until(lambda: isinstance(app.screen, ChooseScreen))
        assert str(app.screen.query_one(OptionList).options[-1].prompt).startswith("●")


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


async def test_without_saved_sessions_a_line_says_so(saving: Make, settle: Go, until: Go) -> None:
    async with saving("oat").run_test() as pilot:
        await settle(pilot)
        await pilot.press("ctrl+o")
        await until(lambda: any("no saved session" in note for note in notes(pilot.app)))


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
        assert "branches · 4" in shown
        assert app.candidates.border_title == "next token"
        tokens = app.frame.snapshot.tokens
        for key in ("space", "g", "r"):
            await press(pilot, key)
            assert app.frame.snapshot.tokens == tokens
        await press(pilot, "b", "home", "right", "end", "left")
        assert app.frame.snapshot.cursor == len(tokens) - 1
        assert app.is_running
        assert saved.read_bytes() == before
        app.do(
            "choosing.load", ModelChoice(name="model2", tokenizer="bytes", device="cpu")
        )  # the tokens are the same: it goes on
        await settle(pilot)
        await press(pilot, "end", "space")
        assert [token.id for token in app.frame.snapshot.tokens[:-1]] == [token.id for token in tokens]
        await until(lambda: len(files(saved.parent.parent)) == 2)  # in a file of its own
        assert saved.read_bytes() == before


async def test_a_list_keeps_its_columns_in_a_small_terminal(saved: Path, saving: Make, settle: Go, until: Go) -> None:
    async with saving("else").run_test(size=(60, 18)) as pilot:
        await settle(pilot)
        await pilot.press("ctrl+o")
        await until(lambda: isinstance(pilot.app.screen, ChooseScreen))
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
        assert all(words.isprintable() for words in session_description(saved))


# The thread that writes ----------------------------------------------------------------------------------------------


def test_autosave_that_never_wrote_ends_at_once(tmp_path: Path) -> None:
    assert Autosave(tmp_path, print).close(0)
