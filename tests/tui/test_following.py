"""Somebody who follows sees what the teacher sees, may look around, and changes nothing."""

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from apps import AppUnderTest, delivered, until
from rich.segment import Segment
from saved_walks import notes
from scenes import Scenes
from terminals import Terminal
from textual.filter import ANSIToTruecolor, Monochrome
from textual.pilot import Pilot

from core.loading.choice import ModelChoice
from core.loading.models import load_model
from core.sampling.sampler import Sampler
from core.walk.session import Session
from tui.app import TokenwalkApp
from tui.following.app import FollowApp
from tui.following.mirror import MirrorLens
from tui.lenses.chart import ChartLens
from tui.runner import Frame
from tui.settings import Settings
from tui.sharing.feed import Feed
from tui.sharing.view import View
from tui.sharing.wire import Received
from tui.walk.showing import Showing, visible

SCENES = Scenes()
OAT = SCENES.oat_milk()
LENS = View(
    "logit", "logit lens · 31 layers", 0, 12, ((0xFF8000, -1, 1),), ((("layer  0 oat", 0),), (("layer  1 tea", 0),))
)


class Scripted(Feed):
    """Brings what a test gives it."""

    def _run(self) -> None:
        self._become("following")

    def bring(self, frame: Frame, view: View | None = View(ChartLens.NAME), kept: int = 0) -> None:
        self._arrived(Received(frame, view, kept))

    def leave(self) -> None:
        self._become("left")


class Follower(AppUnderTest, FollowApp):
    """The app of a viewer."""


@pytest.fixture
def feed() -> Scripted:
    return Scripted()


@pytest.fixture
def follower(feed: Scripted) -> Follower:
    return Follower(feed, None, Settings(fps=60))


async def bring(pilot: Pilot[None], feed: Scripted, *arguments: Any, **options: Any) -> None:
    await until(lambda: feed.state == "following")
    feed.bring(*arguments, **options)
    await delivered(pilot)


async def press(pilot: Pilot[None], *keys: str) -> None:
    for key in keys:
        pilot.app.simulate_key(key)
        await delivered(pilot)


def status(app: Any) -> str:
    return app.status.render().plain


def at(cursor: int, chart: Any = None) -> Frame:
    assert OAT.snapshot is not None
    return replace(OAT, snapshot=replace(OAT.snapshot, cursor=cursor, window=0, chart=chart))


async def test_the_walk_is_shown_as_it_comes(follower: Follower, feed: Scripted, panel_lines: Any) -> None:
    async with follower.run_test(size=(100, 30)) as pilot:
        await delivered(pilot)
        assert "waiting for a shared walk" in status(follower) or "read-only" in status(follower)
        await bring(pilot, feed, OAT, View(ChartLens.NAME, cursor=2))
        assert follower.frame.snapshot == OAT.snapshot
        assert follower.candidates.cursor == 2
        assert status(follower).startswith(" FOLLOW ")
        assert "read-only" in status(follower)
        assert not follower.writing
        feed.leave()
        await delivered(pilot)
        assert "the teacher has left" in status(follower)
        assert follower.frame.snapshot == OAT.snapshot


async def test_the_lens_of_the_teacher_is_mirrored(follower: Follower, feed: Scripted, panel_lines: Any) -> None:
    async with follower.run_test(size=(100, 30)) as pilot:
        await bring(pilot, feed, OAT, LENS)
        assert isinstance(follower.lens, MirrorLens)
        assert [line.strip() for line in panel_lines(follower.lens)[:2]] == ["layer  0 oat", "layer  1 tea"]
        assert "31 layers" in str(follower.lens.border_title)
        await bring(pilot, feed, OAT, View("attention", "attention", 0, 3, ((0, 0, 0),), ((("abc", 0),),)))
        assert panel_lines(follower.lens)[0].strip() == "abc"
        await bring(pilot, feed, OAT)
        assert follower.lens is follower.candidates


async def test_wide_lines_move_sideways_and_long_ones_scroll(
    follower: Follower, feed: Scripted, panel_lines: Any
) -> None:
    lines = tuple(((f"{n:>3}{'.' * 90}end", 0),) for n in range(60))
    async with follower.run_test(size=(80, 24)) as pilot:
        await bring(pilot, feed, OAT, View("logit", "x", 40, 96, ((0, 0, 0),), lines))
        await until(lambda: follower.lens.top > 20)
        assert "end" not in panel_lines(follower.lens)[0]
        follower.simulate_key("full_stop")  # not the teacher's any longer
        await delivered(pilot)
        await press(pilot, "comma")
        assert isinstance(follower.lens, MirrorLens)  # but the same one
        await press(pilot, *["shift+right"] * 5)
        assert "end" in panel_lines(follower.lens)[0]


async def test_looking_around_and_back(follower: Follower, feed: Scripted) -> None:
    chart = OAT.snapshot.chart
    async with follower.run_test(size=(100, 30)) as pilot:
        await bring(pilot, feed, at(11, chart))
        await bring(pilot, feed, at(12, chart), kept=12)
        await press(pilot, "left")
        assert status(follower).startswith(" LOOK ")
        assert "X follows again" in status(follower)
        assert (follower.frame.snapshot.cursor, follower.frame.snapshot.chart) == (11, chart)  # it was shared before
        await press(pilot, "home")
        assert (follower.frame.snapshot.cursor, follower.frame.snapshot.chart) == (1, None)
        assert "Y loads the model here" in follower.candidates._empty
        await bring(pilot, feed, at(5, chart), kept=12)  # the teacher moves, the viewer does not
        assert follower.frame.snapshot.cursor == 1
        await press(pilot, "end")
        assert follower.frame.snapshot.cursor == 12
        await press(pilot, "X")
        assert follower.frame.snapshot.cursor == 5
        assert status(follower).startswith(" FOLLOW ")


async def test_a_chart_is_forgotten_when_its_tokens_or_sampler_change(follower: Follower, feed: Scripted) -> None:
    chart = OAT.snapshot.chart
    async with follower.run_test(size=(100, 30)) as pilot:
        for kept, frame in (
            (4, at(11, chart)),  # tokens from 4 on are others
            (12, replace(at(11), snapshot=replace(at(11).snapshot, sampler=Sampler.of(top_k=3)))),
        ):
            await bring(pilot, feed, at(8, chart))
            await bring(pilot, feed, frame, kept=kept)
            await press(pilot, "home", *["right"] * 7)
            assert (follower.frame.snapshot.cursor, follower.frame.snapshot.chart) == (8, None)
            await press(pilot, "X")


async def test_a_lens_that_is_not_shared_says_how_to_have_it(
    follower: Follower, feed: Scripted, panel_lines: Any
) -> None:
    async with follower.run_test(size=(100, 30)) as pilot:
        await bring(pilot, feed, OAT)
        await press(pilot, "b")
        assert follower.lens.NAME == "branches"
        assert "Y loads the model here" in " ".join(" ".join(panel_lines(follower.lens)[:3]).split())
        await press(pilot, "X")
        assert follower.lens is follower.candidates


@pytest.mark.parametrize("key", ["space", "g", "enter", "1", "u", "r", "n", "m", "right_square_bracket", "i", "x", "V"])
async def test_keys_that_change_the_walk_do_nothing(key: str, follower: Follower, feed: Scripted) -> None:
    async with follower.run_test(size=(100, 30)) as pilot:
        await bring(pilot, feed, OAT)
        await press(pilot, key)
        assert len(follower.screen_stack) == 1
        assert follower.frame.snapshot == OAT.snapshot
        assert not follower.writing


async def test_what_would_change_the_walk_is_refused(follower: Follower, feed: Scripted) -> None:
    """Also where it comes from a lens or the palette."""
    async with follower.run_test(size=(100, 30)) as pilot:
        await bring(pilot, feed, OAT)
        for act in (
            lambda: follower.act(lambda session: session.step()),
            lambda: follower.do("walking.travel", 1) or follower.do("choosing.load", ModelChoice()),
            lambda: follower.do("sampling.temperature", 1),
        ):
            follower.clear_notifications()
            act()
            await delivered(pilot)
            assert notes(follower) == ["this walk is read-only: only the teacher changes it"]
        names = [command.title for command in follower.commands()]
        assert "Sample one token" not in names
        assert "Show what the teacher sees again" in names


async def test_the_model_is_loaded_here_on_request(follower: Follower, feed: Scripted) -> None:
    """Then every position and every lens is computed here, with the same numbers."""
    choice = ModelChoice(tokenizer="bytes", device="cpu")
    teacher = Session(load_model(choice), Sampler.of(top_k=7))
    list(teacher.prefill(list(b"oat milk")))
    list(teacher.generate(6))
    list(teacher.score())
    frame = Frame(choice=teacher.model.choice, model=teacher.info, snapshot=teacher.snapshot())
    async with follower.run_test(size=(100, 30)) as pilot:
        await bring(pilot, feed, frame)
        await press(pilot, "left", "left", "Y")
        teacher.travel(12)
        wanted = teacher.snapshot()
        await until(lambda: follower.frame.snapshot.chart is not None)
        assert follower.frame.snapshot.chart == wanted.chart
        assert follower.frame.snapshot.tokens == frame.snapshot.tokens
        await press(pilot, "b")
        await until(lambda: follower.lens.answer is not None)
        assert [row.length for row in follower.lens.answer.rows] == [8, 6]
        await press(pilot, "X")
        assert follower.frame.snapshot == frame.snapshot
        assert follower.lens is follower.candidates
    assert follower.runner.close(10)


async def test_a_model_that_is_not_here_is_explained(follower: Follower, feed: Scripted) -> None:
    choice = ModelChoice(name="/nowhere/model.gguf")
    frame = replace(OAT, choice=choice, model=replace(OAT.model, choice=choice))
    async with follower.run_test(size=(100, 30)) as pilot:
        await bring(pilot, feed, frame)
        await press(pilot, "Y")
        await until(lambda: any("/nowhere/model.gguf" in note for note in notes(follower)))
        await delivered(pilot)
        assert follower.frame.snapshot.tokens == OAT.snapshot.tokens
        assert not follower.runner.has_model


# The teacher ----------------------------------------------------------------------------------------------------------


class StubServer:
    """Counts viewers as a test says, and keeps what is offered."""

    def __init__(self) -> None:
        self.followers, self.offers = 0, list[tuple[Frame, View]]()

    def offer(self, frame: Frame, view: View) -> None:
        self.offers.append((frame, view))


async def test_the_teacher_shares_what_changes_while_somebody_follows(
    scripted: Callable[..., TokenwalkApp], press: Any
) -> None:
    app, server = scripted(OAT, text="oat"), StubServer()
    async with app.run_test(size=(100, 30)) as pilot:
        await delivered(pilot)
        showing = Showing(server, app.walk)
        showing.look()
        assert server.offers == []
        assert "follow" not in status(app)
        server.followers = 2
        showing.look()
        showing.look()
        assert len(server.offers) == 1
        assert server.offers[0] == (app.frame, View("candidates"))
        assert "2 follow" in status(app)
        app.simulate_key("down")
        await delivered(pilot)
        showing.look()
        assert server.offers[-1][1].cursor == 1
        app.do("lens.look", "branches")
        await delivered(pilot)
        showing.look()
        view = server.offers[-1][1]
        assert view.name == "branches"
        assert view.lines
        assert "branches" in view.title


async def test_what_a_guess_hides_is_hidden_from_viewers_too(scripted: Callable[..., TokenwalkApp]) -> None:
    app = scripted(at(8, OAT.snapshot.chart), text="oat")
    async with app.run_test(size=(100, 30)) as pilot:
        await delivered(pilot)
        app.do("lens.look", "guess")
        await delivered(pilot)
        shown = visible(app.frame, app.lens).snapshot
        assert (len(shown.tokens), shown.chart) == (len(app.lens.frame_for_panels(app.frame).snapshot.tokens), None)
        assert len(shown.tokens) < 12


# The command ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "needs a terminal"),
        (("127.0.0.1:4711/abc",), "needs a terminal"),
        (("10.1.2.3:4711/abc",), "ssh -L 4711:127.0.0.1:4711"),
        (("missing.json",), "missing.json cannot be read"),
        (("--model", "nonsense"), "nonsense"),
    ],
)
def test_the_command_refuses_in_one_line(
    arguments: tuple[str, ...], says: str, run_here: Callable[..., subprocess.CompletedProcess[bytes]]
) -> None:
    done = run_here("follow", *arguments)
    assert done.returncode == 2
    assert says in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


async def test_how_a_walk_is_shared_is_said_in_full_where_there_is_little_room(follower: Follower) -> None:
    async with follower.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        chart = follower.walk.candidates
        said = " ".join(chart.render_line(y).text.strip() for y in range(chart.size.height)).strip()
        assert said == "no walk is shared yet · tokenwalk --share shares one"


async def test_no_color_of_a_viewer_needs_a_filter(follower: Follower, feed: Scripted) -> None:
    """The filter that a viewer leaves out would change nothing: all colors are true ones, and none is dimmed."""
    left_out = ANSIToTruecolor(follower.ansi_theme)
    async with follower.run_test(size=(100, 30)) as pilot:
        for view in (View(ChartLens.NAME), LENS):
            await bring(pilot, feed, OAT, view)
            assert not follower.get_line_filters()
            background = follower.screen.background_colors[1]
            for line in follower.screen._compositor.render_strips():
                segments = [Segment(text, style) for text, style, _control in line]
                assert left_out.apply(segments, background) == segments


async def test_other_filters_of_a_viewer_stay(follower: Follower) -> None:
    async with follower.run_test(size=(100, 30)):
        follower._filters.append(Monochrome())
        assert [type(each) for each in follower.get_line_filters()] == [ANSIToTruecolor, Monochrome]


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="only Linux has this scheduling class")
def test_a_viewer_stands_back_after_its_first_paint(terminal: Callable[..., Terminal]) -> None:
    """Not before, as a busy machine would leave it without a processor for minutes while it imports."""
    viewer = terminal("follow")
    viewer.until(b"no walk is shared yet")
    for _ in range(1000):
        if os.sched_getscheduler(viewer.process.pid) == os.SCHED_IDLE:
            break
        time.sleep(0.01)
    assert os.sched_getscheduler(viewer.process.pid) == os.SCHED_IDLE
    viewer.press(b"q")
    assert viewer.ended() == 0
