"""What happens in a walk reaches a file at once, also while the session file is written, and after `kill -9`."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from saved_walks import files
from terminals import Terminal

from core.loading.choice import ModelChoice
from core.loading.model import Model
from core.loading.models import load_model
from core.sessions import reader, record, storage, writer
from core.sessions.record import Record
from core.walk.session import Session
from tui import autosave, journal
from tui.autosave import Autosave


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(ModelChoice(tokenizer="bytes", device="cpu"))


class Saving:
    """A walk with its autosave."""

    def __init__(self, model: Model, folder: Path) -> None:
        self.walk = Session(model)
        list(self.walk.prefill(list(b"oat")))
        self.said: list[str] = []
        self.autosave = Autosave(folder / "sessions", lambda words, _: self.said.append(str(words)))
        self.folder = folder

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self.walk.step()
            self.autosave.write_if_due(self.walk)

    @property
    def path(self) -> Path:
        return files(self.folder)[0]

    @property
    def journals(self) -> list[Path]:
        return sorted((self.folder / "sessions").glob("*.journal"))

    def read(self) -> Record:
        return replace(reader.read_record(self.path, self.said.append), written="", program="")

    def saved(self) -> bool:
        """Whether the files hold the walk as it is."""
        return bool(files(self.folder)) and self.read() == record.record_of(self.walk)


def wait(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def saving(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Saving]:
    """The session file is written once; all that comes later is in the journal."""
    monkeypatch.setattr(autosave, "INTERVAL", 1000.0)
    monkeypatch.setattr(journal, "INTERVAL", 0.01)
    made = Saving(model, tmp_path)
    yield made
    assert made.autosave.close(10)


def test_what_follows_the_session_file_is_in_the_journal(saving: Saving) -> None:
    saving.step()
    wait(saving.saved)
    content = saving.path.read_bytes()
    assert saving.journals == []
    saving.step(3)
    wait(saving.saved)
    for change in (saving.walk.take_back, lambda: saving.walk.travel(1), saving.walk.step, saving.walk.redraw):
        change()
        saving.autosave.write_if_due(saving.walk)
        wait(saving.saved)
    assert saving.path.read_bytes() == content
    (path,) = saving.journals
    assert path.stat().st_mode & 0o777 == 0o600
    assert saving.said == []


def test_a_written_session_file_needs_no_journal(saving: Saving) -> None:
    saving.step(3)
    wait(saving.saved)
    saving.step(3)
    wait(lambda: saving.journals)
    saving.autosave.write_if_due(saving.walk, last=True)
    wait(lambda: saving.saved() and not saving.journals)
    saving.step()
    wait(lambda: saving.saved() and saving.journals)


def test_changes_while_the_session_file_is_written_are_kept(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk hangs, with the new file complete but not in its place; the journal of the old one goes on."""
    begun, go_on, write = threading.Event(), threading.Event(), writer.write_record
    saving.step()
    wait(saving.saved)

    def hanging(path: Path, walk: Record, complete: Callable[[str], None]) -> None:
        def complete_and_hang(digest: str) -> None:
            complete(digest)
            begun.set()
            assert go_on.wait(20)

        write(path, walk, complete_and_hang)

    monkeypatch.setattr(writer, "write_record", hanging)
    saving.step()
    saving.autosave.save(saving.walk)
    saving.step(2)
    assert begun.wait(20)
    saving.step(2)
    wait(lambda: saving.saved() and len(saving.journals) == 2)  # one for each state of the file
    go_on.set()
    wait(lambda: len(saving.journals) == 1)
    assert saving.saved()
    saving.step()
    wait(saving.saved)


def test_a_session_file_that_cannot_be_written_leaves_the_journal(
    saving: Saving, monkeypatch: pytest.MonkeyPatch
) -> None:
    saving.step()
    wait(saving.saved)
    saving.step()
    wait(saving.saved)

    def failing(path: Path, walk: Record, complete: Callable[[str], None]) -> None:
        complete("0" * 64)
        raise OSError("no space left")

    monkeypatch.setattr(writer, "write_record", failing)
    saving.autosave.save(saving.walk)
    wait(lambda: saving.said)
    saving.step(2)
    wait(saving.saved)
    assert len(saving.journals) == 1


def test_a_journal_that_cannot_be_written_is_explained_once(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    saving.step()
    wait(saving.saved)

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal.os, "write", full)
    saving.step()
    wait(lambda: saving.said)
    saving.step(2)
    monkeypatch.undo()
    saving.autosave.save(saving.walk)
    wait(saving.saved)
    assert [words for words in saving.said if "saved as" not in words] == [
        "the journal cannot be written: No space left on device; the session is still saved every few seconds"
    ]


def test_journals_of_removed_sessions_are_removed(saving: Saving, tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    saving.step()
    wait(saving.saved)
    saving.step()
    wait(lambda: saving.journals)
    left = folder / "gone.0123456789abcdef.journal"
    left.write_text("x")
    storage.prepare(folder)
    assert left.exists()  # it may be that of a session that is written at this moment
    old = time.time() - 2 * storage.STALE
    os.utime(left, (old, old))
    storage.prepare(folder)
    assert not left.exists()
    assert len(saving.journals) == 1


def test_kill_9_loses_less_than_a_second(terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    """What the screen showed two seconds before is there; the session file itself was written once, at the start."""
    first = "import tui.autosave; tui.autosave.INTERVAL = 1000.0"
    app = terminal("oat", "-n", "1000000", "--tokenizer", "bytes", "--device", "cpu", first=first)
    app.until(b"bits")
    app.press(b"g")
    shown, began = list[tuple[float, int]](), time.monotonic()
    while time.monotonic() < began + 3.5 or not shown:
        app.more()
        if counts := re.findall(r"▶ ([\d,]+) · ", app.text[-4000:]):
            shown.append((time.monotonic(), int(counts[-1].replace(",", ""))))
    app.process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    app.process.wait()
    (path,) = (tmp_path / "tokenwalk" / "sessions").glob("*.json")
    notes = list[str]()
    read = reader.read_record(path, notes.append)
    seen = max(count for when, count in shown if when < killed - 2)
    assert len(read.path()) - len("oat") >= seen > 0
    assert len(reader.parse_record(path.read_text("utf-8"), "walk.json").path()) < seen
