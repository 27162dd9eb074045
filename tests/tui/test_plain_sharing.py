"""`--plain --share` and `tokenwalk follow --plain`."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from plain_lines import drawn, said_by, spoken_labels  # noqa: F401  # a fixture of every test here
from scenes import Scenes

from core.loading.choice import ModelChoice
from tui.lenses.chart import ChartLens
from tui.plain.desk import Desk
from tui.plain.keyboard import Lines
from tui.plain.spoken_app import SpokenFollow, SpokenWalk
from tui.settings import Settings
from tui.sharing import address, feed
from tui.sharing.feed import Feed, SharedFeed
from tui.sharing.server import Server
from tui.sharing.view import View
from tui.sharing.wire import Received

OAT = Scenes().oat_milk()
LENS = View("logit", "logit lens", 0, 12, ((0xFF8000, -1, 1),), ((("layer  0 ▸oat", 0),), (("layer  1 tea", 0),)))


class Scripted(Feed):
    """Brings one state at once."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view

    def start(self, arrived: Callable[[Received], None], changed: Callable[[], None]) -> None:
        self._arrived, self._changed = arrived, changed
        self._become("following")
        arrived(Received(OAT, self._view, 0))


def test_a_viewer_reads_what_the_teacher_sees() -> None:
    lines = said_by(SpokenFollow(Scripted(View(ChartLens.NAME)), None, Settings(fps=60)), "left", "X", "g", "?")
    assert "read-only" in lines
    assert any(line.startswith("prompt of ") for line in lines)
    assert any(line.startswith("position ") for line in lines)
    assert "'g' does nothing here; ? lists keys and commands" in lines
    assert "X: Show what the teacher sees again" in lines
    assert drawn(lines) == set()


def test_a_viewer_reads_the_lens_of_the_teacher() -> None:
    lines = said_by(SpokenFollow(Scripted(LENS), None, Settings(fps=60)), "f6")
    assert lines[-2:] == ["layer  0 oat", "layer  1 tea"]
    assert any(line.startswith("lens ") and "logit lens: " in line for line in lines)


def test_a_walk_in_lines_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The viewer gets the lens as a screen would show it, and the teacher hears that somebody follows."""
    monkeypatch.setattr(address, "folder", lambda: tmp_path / "shared")
    monkeypatch.setattr(feed, "AGAIN", 0.02)
    server, said, (read, write) = Server(), list[str](), os.pipe()
    app = SpokenWalk(
        ModelChoice(tokenizer="bytes"), text="oat milk", settings=Settings(fps=60), sessions=tmp_path, server=server
    )
    viewer, seen = SharedFeed(server.address), list[Received]()

    def arrived(received: Received) -> None:
        seen.append(received)
        if received.view and received.view.name == "flow" and received.view.lines:
            os.write(write, b"q\n")

    viewer.start(arrived, lambda: None)
    os.write(write, b"flow\n")
    assert asyncio.run(Desk(app, Lines(read), said.append).run()) == 0
    viewer.close()
    assert app.runner.close(10)
    assert any(line.startswith("this walk is shared on this machine: tokenwalk follow 127.0.0.1:") for line in said)
    assert "1 follow" in said
    assert seen[-1].frame.snapshot is not None
    assert seen[-1].view is not None
    assert any(piece.strip() for line in seen[-1].view.lines for piece, _style in line)
