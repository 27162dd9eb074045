"""Walks are saved by a key and automatically, also when the app is closed."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from saved_walks import Go, Make, chosen, files, notes, read, saved_as_it_is, walk_of
from textual.widgets import Input

from core.loading.choice import ModelChoice
from core.sessions import record, storage, writer
from tui import autosave
from tui.autosave import Autosave
from tui.dialogs.line import LineScreen

OTHER = ModelChoice(device="cpu")
"""Model 1 over cl100k: other tokens."""

# Automatically --------------------------------------------------------------------------------------------------------


async def test_a_walk_is_saved_automatically_while_it_changes(
    saving: Make, settle: Go, press: Go, until: Go, tmp_path: Path
) -> None:
    async with saving("oat").run_test(size=(100, 30)) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "right_square_bracket")
        assert files(tmp_path) == []  # a prompt alone is not saved
        assert not app.autosave.kept
        for key in ("space", "g", "left", "r", "u"):
            await press(pilot, key)
            await saved_as_it_is(app, tmp_path, until)
        assert len(files(tmp_path)) == 1
        assert app.autosave.kept
        assert (tmp_path / "sessions").stat().st_mode & 0o777 == 0o700
        await until(lambda: not [*(tmp_path / "sessions").glob("*.journal")])
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


async def test_a_walk_is_saved_to_a_file_of_choice_and_opened_from_it(
    saving: Make, settle: Go, press: Go, until: Go, tmp_path: Path
) -> None:
    async with saving("oat").run_test(size=(100, 30)) as pilot:
        app, file = pilot.app, tmp_path / "mine.json"
        await settle(pilot)
        await press(pilot, "space", "space")
        tokens = app.frame.snapshot.tokens
        for name, problem in ((file, ""), (file, "already a file"), (tmp_path / "none" / "a.json", "no folder")):
            await pilot.press("w")
            await chosen(pilot, until, "save as")
            await until(lambda: isinstance(app.screen, LineScreen) and app.screen.is_mounted)
            app.screen.query_one(Input).value = str(name)
            await pilot.press("enter")
            if problem:
                await until(lambda: problem in str(app.screen.query_one(".problem").content))  # noqa: B023
                await pilot.press("escape")
            else:
                await until(file.exists)
        assert [token.id for token in read(file).path()] == [token.id for token in tokens]
        await press(pilot, "u")
        await pilot.press("ctrl+o")
        await chosen(pilot, until, "another file")
        await until(lambda: isinstance(app.screen, LineScreen) and app.screen.is_mounted)
        app.screen.query_one(Input).value = str(file)
        await pilot.press("enter")
        await settle(pilot)
        assert app.frame.snapshot.tokens == tokens


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

    def hanging(path: Path, walk: record.Record, complete: Callable[[str], None]) -> None:
        threads.add(threading.current_thread().name)
        begun.set()
        assert go_on.wait(20)
        write(path, walk, complete)

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
        await until(lambda: any("cannot be created" in note for note in notes(pilot.app)))
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


# Saving ---------------------------------------------------------------------------------------------------------------


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
        written = files(tmp_path)[0].stat().st_mtime_ns
        await pilot.press("w", "enter")
        await until(lambda: files(tmp_path)[0].stat().st_mtime_ns > written)
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


# The thread that writes -----------------------------------------------------------------------------------------------


def test_autosave_that_never_wrote_ends_at_once(tmp_path: Path) -> None:
    assert Autosave(tmp_path, print).close(0)
