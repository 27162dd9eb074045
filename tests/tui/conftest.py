"""What the tests of tui share: a scripted runner, made-up frames, and ways to look at the screen."""

import asyncio
import io
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rich.style import Style
from textual import events
from textual._wait import wait_for_idle
from textual.app import App
from textual.keys import _character_to_key
from textual.pilot import Pilot
from textual.widget import Widget

from core.engine.info import DeviceInfo
from core.generation.token import Token
from core.loading.checkpoints.recipe import Recipe
from core.loading.choice import ModelChoice
from core.loading.info import ModelInfo
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate, Chart, SamplerStage, Score
from core.walk.values import Snapshot
from tui.app import TokenwalkApp
from tui.cli import main
from tui.runner import Activity, Frame, Operation, Question, Runner
from tui.settings import Settings

PATIENCE = 60.0
"""Seconds after which a test gives up. It bounds a defect; no test waits for time to pass."""
BYTES = ModelChoice(tokenizer="bytes", device="cpu")
"""Model 1 over 257 ids."""


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own terminal decides nothing."""
    for name in ("NO_COLOR", "SSH_CONNECTION", "TEXTUAL_THEME", "TEXTUAL_ANIMATIONS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def waits_until_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pilot waits until the app is idle; Textual's own test compares processor time with the clock instead."""

    async def wait(min_sleep: float = 0, max_sleep: float = 1) -> None:
        if (app := AppUnderTest.newest) and app.is_running:
            await idle(app)
        else:
            await wait_for_idle(min_sleep, min(max_sleep, 0.25))

    monkeypatch.setattr("textual.app.wait_for_idle", wait)
    monkeypatch.setattr("textual.pilot.wait_for_idle", wait)


# The app, as tests name its parts ----------------------------------------------------------------------------------


class AppUnderTest(TokenwalkApp):
    """The app with short names for the parts of its walk screen."""

    newest: ClassVar["AppUnderTest | None"] = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        AppUnderTest.newest = self

    frame = property(lambda self: self.state.frame)
    choice = property(lambda self: self.state.choice)
    sampler = property(lambda self: self.state.sampler)
    prompt = property(lambda self: self.walk.prompt)
    tokens = property(lambda self: self.walk.tokens)
    candidates = property(lambda self: self.walk.candidates)
    lens = property(lambda self: self.walk.lens)
    generation = property(lambda self: self.walk.generation)
    status = property(lambda self: self.walk.status)
    tabs = property(lambda self: self.walk.tabs)
    writing = property(lambda self: self.walk.writing)

    def do(self, action: str, *arguments: object) -> None:
        """Run an action of the walk screen, such as `walking.step`."""
        self.walk.action_do(action, arguments)


# A runner that only plays back -------------------------------------------------------------------------------------


class ScriptedRunner:
    """Serves given frames and notes what it was asked for; no thread, no model."""

    def __init__(self, publish: Callable[[], None], fps: float) -> None:
        self._publish = publish
        self.fps = fps
        self.frame = Frame()
        self.problems: list[str] = []
        self.loads: list[tuple[ModelChoice, str]] = []
        self.operations: list[Operation] = []
        self.pauses = 0
        self.trainings: list[tuple[Recipe, Path]] = []
        self.learning: list[bool | None] = []
        """What was asked of the rung that learns: to go on, to wait, None to stop."""
        self.started = self.closed = False

    def start(self) -> None:
        self.started = True
        self._publish()

    def load(self, choice: ModelChoice, text: str, sampler: Sampler, **_: bool) -> None:
        self.loads.append((choice, text))

    def submit(self, operation: Operation, *, interrupts: bool = True, instead_of: str | None = None) -> None:
        self.operations.append(operation)

    def ask(self, question: Question | None) -> None:
        self.frame = replace(self.frame, question=question)

    def pause(self) -> None:
        self.pauses += 1

    def train(self, recipe: Recipe, folder: Path) -> None:
        self.trainings.append((recipe, folder))

    def go_on_learning(self, wanted: bool) -> None:
        self.learning.append(wanted)

    def stop_learning(self) -> None:
        self.learning.append(None)

    def take(self) -> tuple[Frame, list[str]]:
        problems, self.problems = self.problems, []
        return self.frame, problems

    def close(self, timeout: float = 0.15) -> bool:
        self.closed = True
        return True

    def show(self, frame: Frame, *problems: str) -> None:
        """Let the app draw a frame."""
        self.frame = frame
        self.problems += problems
        self._publish()


@pytest.fixture
def scripted() -> Callable[..., TokenwalkApp]:
    """An app whose runner plays back one frame."""

    def make(frame: Frame = Frame(), text: str = "", **given: Any) -> AppUnderTest:
        app = AppUnderTest(text=text, runner=ScriptedRunner, **given)
        app.runner.frame = frame
        return app

    return make


# Frames ------------------------------------------------------------------------------------------------------------


class Scenes:
    """Made-up walks, every number fixed."""

    vocab_size = 100_277

    def token(self, piece: bytes | str, id: int = 100, bits: float | None = 4.0, **more: Any) -> Token:
        piece = piece.encode() if isinstance(piece, str) else piece
        score = None if bits is None else Score(0.5, -bits * 0.6931471805599453, 16.5, int(2**bits))
        return Token(id, piece, score=score, **more)

    def tokens(self, pieces: Iterable[bytes | str]) -> tuple[Token, ...]:
        """A prompt of which each token was a little more surprising than the one before."""
        return tuple(
            self.token(piece, 100 + 37 * n, bits=None if n == 0 else 2.5 * (n % 9)) for n, piece in enumerate(pieces)
        )

    def chart(
        self,
        pieces: Sequence[bytes | str],
        shares: Sequence[float] = (),
        *,
        kept: int | None = None,
        taken: int | None = None,
    ) -> Chart:
        """A chart of these candidates; those from `kept` on are cut, `taken` is the place of the one that came."""
        shares = shares or [0.5 / 1.6**n / 1.4 for n in range(len(pieces))]
        kept = len(pieces) if kept is None else kept
        mass = sum(shares[:kept]) if kept < len(pieces) else 1.0
        candidates = tuple(
            Candidate(
                200 + n,
                piece.encode() if isinstance(piece, str) else piece,
                n,
                9.25 - n / 4,
                share,
                share / mass if n < kept else 0.0,
            )
            for n, (piece, share) in enumerate(zip(pieces, shares, strict=True))
        )
        left = kept if kept < len(pieces) else self.vocab_size
        return Chart(
            candidates=candidates,
            others_count=self.vocab_size - len(pieces),
            others_probability=1 - sum(shares),
            others_sampled=0.0 if kept < len(pieces) else 1 - sum(shares),
            entropy_bits=6.25,
            stages=(
                SamplerStage("raw", self.vocab_size, 1.0),
                SamplerStage("temperature", self.vocab_size, 1.0),
                SamplerStage("top-k", left, mass),
                SamplerStage("top-p", left, mass),
                SamplerStage("renormalised", left, 1.0),
            ),
            taken=None if taken is None else candidates[taken],
        )

    def frame(
        self,
        tokens: tuple[Token, ...],
        chart: Chart | None,
        *,
        prompt_length: int | None = None,
        cursor: int | None = None,
        context: int = 8,
        sampler: Sampler = Sampler(),
        name: str = "model1",
        activity: Activity = "idle",
        **more: Any,
    ) -> Frame:
        cursor = len(tokens) if cursor is None else cursor
        info = ModelInfo(
            name,
            "zero-layer transformer",
            12_935_733,
            100_277,
            context,
            "cpu",
            "fp32",
            "cl100k",
            "random weights, seed 0",
        )
        snapshot = Snapshot(
            tokens=tokens,
            prompt_length=len(tokens) if prompt_length is None else prompt_length,
            cursor=cursor,
            window=max(0, cursor - context),
            sampler=sampler,
            can_take_back=True,
            can_redo=False,
            chart=chart,
        )
        here = (
            DeviceInfo("cpu", "A processor", 16 * 2**30),
            DeviceInfo("cuda", "NVIDIA GPU", None, "this build of torch is without CUDA"),
        )
        return Frame(activity=activity, choice=ModelChoice(), model=info, devices=here, snapshot=snapshot, **more)

    def oat_milk(self, **changes: Any) -> Frame:
        """A walk of twelve tokens, the last five sampled, in a context of eight."""
        pieces = ["I", " prefer", " oat", " milk", " in", " my", "\n", " cof", "fee", " 字", b" \xf0\x9f", " and"]
        words = [" the", " my", " a", " tea", ".", "\n", " 字字", b" \xf0\x9f", "\t", " your", " its", " everything"]
        words += [f" word{n}" for n in range(30)]
        tokens = tuple(
            self.token(token.piece, token.id, None if token.score is None else token.score.surprisal_bits, **origin)
            for n, token in enumerate(self.tokens(pieces))
            for origin in [{"origin": "sampled", "u": 0.25, "sampled_probability": 0.1} if n >= 7 else {}]
        )
        given = {"chart": self.chart(words), "prompt_length": 7, "rate": 412.0, "generated": 5, **changes}
        return self.frame(tokens, **given)


@pytest.fixture(scope="session")
def scenes() -> Scenes:
    return Scenes()


# The real runner, watched ------------------------------------------------------------------------------------------


class Waiting(threading.Event):
    """Knows whether somebody waits for it."""

    waited_for = False

    def wait(self, timeout: float | None = None) -> bool:
        self.waited_for = True
        try:
            return super().wait(timeout)
        finally:
            self.waited_for = False


class WatchedRunner(Runner):
    """The real runner; tells when there is nothing left to do."""

    def __init__(self, publish: Callable[[], None], fps: float) -> None:
        super().__init__(publish, fps)
        self._jobs._wake: Waiting = Waiting()

    def rests(self) -> bool:
        """Whether all that was asked is done; whoever asks next changes that."""
        wake = self._jobs._wake
        return not self._jobs and wake.waited_for and not wake.is_set()

    @property
    def newest(self) -> Frame:
        return self._outbox.frame

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()


@pytest.fixture
def real() -> Callable[..., TokenwalkApp]:
    """An app over a real model: Model 1 with one token a byte, unless another is named."""

    def make(text: str = "", choice: ModelChoice = BYTES, **given: Any) -> AppUnderTest:
        return AppUnderTest(choice, text=text, runner=WatchedRunner, settings=Settings(fps=30), **given)

    return make


async def until(true: Callable[[], object]) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.002)


async def delivered(pilot: Pilot[None]) -> None:
    """Wait until every message was handled, those included that were sent meanwhile, and every change is drawn."""
    await idle(pilot.app)


async def idle(app: App[None]) -> None:
    """Wait until the app has nothing left to do."""
    end = time.monotonic() + PATIENCE
    while app.is_running and await Pilot(app)._wait_for_screen() and app.is_running and not is_idle(app):
        assert time.monotonic() < end, "the app was never idle"
        await asyncio.sleep(0.001)


def is_idle(app: App[None]) -> bool:
    """Whether no message waits and no change is undrawn, at a time when every widget has just answered a message."""
    screen = app.screen
    unread = any(
        widget.message_queue_size or widget._next_callbacks for widget in (app, *screen.walk_children(with_self=True))
    )
    undrawn = (
        app._resize_timer
        or screen._callbacks
        or screen._layout_required
        or screen._scroll_required
        or screen._repaint_required
        or screen._recompose_required
        or screen._dirty_widgets
    )
    return not (unread or undrawn)


async def settle(pilot: Pilot[None]) -> None:
    """Wait until all that was asked is done and drawn."""
    app = pilot.app
    await delivered(pilot)
    while not (app.runner.rests() and app.frame is app.runner.newest):
        await until(lambda: app.runner.rests() and app.frame is app.runner.newest)
        await delivered(pilot)  # which may ask for more


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Awaitable[None]]:
    return until


@pytest.fixture(name="settle")
def settle_fixture() -> Callable[[Pilot[None]], Awaitable[None]]:
    return settle


@pytest.fixture
def press() -> Callable[..., Awaitable[None]]:
    """Press keys of the walk, then wait until all they asked for is done and drawn."""

    async def go(pilot: Pilot[None], *keys: str) -> None:
        for key in keys:
            pilot.app.simulate_key(key)
            await delivered(pilot)
        await settle(pilot)

    return go


@pytest.fixture
def write() -> Callable[..., Awaitable[None]]:
    """Type text, a key a character."""

    async def go(pilot: Pilot[None], text: str) -> None:
        for character in text:
            pilot.app.post_message(events.Key(_character_to_key(character), character))
            await delivered(pilot)

    return go


# The command line --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def run_here() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run `tokenwalk` in this process, which has imported torch already."""

    def run(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        files = {name: io.TextIOWrapper(io.BytesIO(), "utf-8") for name in ("stdout", "stderr")}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["tokenwalk", *arguments])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), "utf-8"))
            for name, file in files.items():
                patch.setattr(sys, name, file)
            with pytest.raises(SystemExit) as end:
                main()
        out, err = (file.buffer.getvalue() for file in files.values() if not file.flush())
        return subprocess.CompletedProcess(arguments, end.value.code or 0, out, err)

    return run


# Looking at the screen ---------------------------------------------------------------------------------------------


def screen_lines(app: TokenwalkApp) -> list[str]:
    """What the terminal is given, line by line, without colours."""
    return ["".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips()]


def panel_lines(panel: Widget) -> list[str]:
    """What a panel draws inside its border."""
    return [panel.render_line(y).text for y in range(panel.scrollable_content_region.height)]


@pytest.fixture(name="screen_lines")
def screen_lines_fixture() -> Callable[[TokenwalkApp], list[str]]:
    return screen_lines


@pytest.fixture(name="panel_lines")
def panel_lines_fixture() -> Callable[[Widget], list[str]]:
    return panel_lines


@pytest.fixture
def marked() -> Callable[[Widget, str], str]:
    """The text that a panel draws in one of its component styles."""

    def find(panel: Widget, component: str) -> str:
        wanted = _appearance(panel.get_component_rich_style(component))
        lines = [panel.render_line(y) for y in range(panel.scrollable_content_region.height)]
        return "".join(s.text for line in lines for s in line if s.style and _appearance(s.style) == wanted)

    return find


def _appearance(style: Style) -> tuple[object, ...]:
    return style.color, style.bgcolor, bool(style.bold), bool(style.dim)
