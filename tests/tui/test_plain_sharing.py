"""`--plain --share` and `tokenwalk follow --plain`."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from plain_lines import drawn, said_by, spoken_labels  # noqa: F401  # a fixture of every test here
from scenes import Scenes

from core.loading.choice import ModelChoice
from tui.lenses.chart import ChartLens
from tui.plain import words
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
        self.bring(self._view)

    def bring(self, view: View) -> None:
        """Show this."""
        self._arrived(Received(OAT, view, 0))


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


def test_a_viewer_hears_how_a_chart_is_had_where_none_is_shared() -> None:
    lines = said_by(SpokenFollow(Scripted(View(ChartLens.NAME)), None, Settings(fps=60)), "left", "next", "X")
    assert lines.count("next token: not shared, Y loads the model here") == 2


def lines_of(*lines: str) -> tuple[tuple[tuple[str, int], ...], ...]:
    return tuple(((line, 0),) for line in lines)


def heard(first: View, *script: tuple[str, View]) -> list[str]:
    """What a viewer hears while the teacher shows one view after the other, each when a line has been said."""
    feed, said, (read, write), waiting = Scripted(first), list[str](), os.pipe(), list(script)

    def say(line: str) -> None:
        said.append(line)
        if waiting and line.startswith(waiting[0][0]):
            _line, view = waiting.pop(0)
            feed.bring(view)
        elif not waiting and line.startswith("END"):
            os.close(write)  # the end of the input ends it

    app = SpokenFollow(feed, None, Settings(fps=60))
    try:
        assert asyncio.run(Desk(app, Lines(read), say).run()) == 0
    finally:
        app.runner.close(10)
        os.close(read)
    return said


def test_a_viewer_hears_another_lens_and_another_row_of_it() -> None:
    other = replace(LENS, name="context", title="context", lines=lines_of("› ·oat 1.5", "  ·milk 2.5"))
    moved = replace(other, lines=lines_of("  ·oat 1.5", "› ·milk 2.5", "after milk"))
    end = replace(moved, lines=lines_of("END"))
    lines = heard(LENS, ("layer  1", other), ('" milk" 2.5', moved), ("after milk", end))
    at = next(n for n, line in enumerate(lines) if line.startswith("lens ") and "context: " in line)
    assert lines[at + 1 :] == ['" oat" 1.5', '" milk" 2.5', "after milk", "END"]


def test_a_viewer_hears_which_candidate_the_teacher_picks() -> None:
    chart = View(ChartLens.NAME)
    end = replace(LENS, lines=lines_of("END"))
    lines = heard(LENS, ("layer  1", chart), ("next token, position", replace(chart, cursor=2)), ("3  ", end))
    assert OAT.snapshot is not None
    assert OAT.snapshot.chart is not None
    assert words.candidate_line(OAT.snapshot.chart.candidates[2]) in lines


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
