"""Fixtures of the tests of `tui`: apps, frames, waiting, keys, the command line, and ways to look at the screen."""

import gc
import io
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from apps import AppUnderTest, ScriptedRunner, WatchedRunner, delivered, idle, settle, until
from rich.style import Style
from scenes import Scenes
from terminals import Terminal
from textual import events
from textual._wait import wait_for_idle
from textual.keys import _character_to_key
from textual.notifications import Notification
from textual.pilot import Pilot
from textual.widget import Widget

from core.loading.checkpoints import folders
from core.loading.choice import ModelChoice
from core.loading.models import load_model
from core.sampling.sampler import Sampler
from core.training.status import TrainingStatus
from core.walk.session import Session
from tui import autosave
from tui.app import TokenwalkApp
from tui.cli import main
from tui.runner import Frame
from tui.settings import Settings

BYTES = ModelChoice(tokenizer="bytes", device="cpu")
"""Model 1 over 257 ids."""


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own terminal decides nothing."""
    for name in ("NO_COLOR", "SSH_CONNECTION", "TEXTUAL_THEME", "TEXTUAL_ANIMATIONS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def lasting_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line over the panels stays until it is looked for, however slow the machine is."""
    monkeypatch.setattr(Notification, "time_left", 600.0)


@pytest.fixture(autouse=True)
def waits_until_idle(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A pilot waits until the app is idle; Textual's own test compares processor time with the clock instead."""

    async def wait(min_sleep: float = 0, max_sleep: float = 1) -> None:
        if (app := AppUnderTest.newest) and app.is_running:
            await idle(app)
        else:
            await wait_for_idle(min_sleep, min(max_sleep, 0.25))

    monkeypatch.setattr("textual.app.wait_for_idle", wait)
    monkeypatch.setattr("textual.pilot.wait_for_idle", wait)
    yield
    if AppUnderTest.newest:
        AppUnderTest.newest = None
        gc.collect(1)
        gc.freeze()  # the runner lets all objects be searched again when it ends


@pytest.fixture(scope="session")
def walk() -> Callable[..., Session]:
    """A walk of model 1 without an app, to compare with."""
    model = load_model(BYTES)

    def start(text: str = "oat milk", sampler: Sampler = Sampler()) -> Session:
        session = Session(model, sampler)
        list(session.prefill(list(text.encode())))
        return session

    return start


@pytest.fixture
def scripted() -> Callable[..., TokenwalkApp]:
    """An app whose runner plays back one frame."""

    def make(frame: Frame = Frame(), text: str = "", **options: Any) -> AppUnderTest:
        app = AppUnderTest(text=text, runner=ScriptedRunner, **options)
        app.runner.frame = frame
        return app

    return make


@pytest.fixture(scope="session")
def scenes() -> Scenes:
    return Scenes()


# Apps and frames ---------------------------------------------------------------------------------------------------


@pytest.fixture
def real() -> Callable[..., TokenwalkApp]:
    """An app over a real model: Model 1 with one token a byte, unless another is named."""

    def make(text: str = "", choice: ModelChoice = BYTES, **options: Any) -> AppUnderTest:
        return AppUnderTest(choice, text=text, runner=WatchedRunner, **{"settings": Settings(fps=30), **options})

    return make


@pytest.fixture
def saving(
    real: Callable[..., TokenwalkApp], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., TokenwalkApp]:
    """An app that saves its walks automatically, at intervals of 0.05 seconds."""
    monkeypatch.setattr(autosave, "INTERVAL", 0.05)
    monkeypatch.chdir(tmp_path)
    return lambda text="", **options: real(text, sessions=tmp_path / "sessions", **options)


@pytest.fixture
def watching(scripted: Callable[..., TokenwalkApp], scenes: Scenes) -> Callable[..., TokenwalkApp]:
    """An app over a scripted runner that has a training, or none."""

    def make(progress: TrainingStatus | None = None, **options: Any) -> TokenwalkApp:
        return scripted(replace(scenes.oat_milk(), training=progress), text="oat", **options)

    return make


@pytest.fixture
def trainings_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of trainings, in a temporary folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(folders, "home", lambda: tmp_path / "trained")
    return tmp_path / "trained"


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

    def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        files = {name: io.TextIOWrapper(io.BytesIO(), "utf-8") for name in ("stdout", "stderr")}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["tokenwalk", *arguments])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
            for name, file in files.items():
                patch.setattr(sys, name, file)
            with pytest.raises(SystemExit) as end:
                main()
        out, err = (file.buffer.getvalue() for file in files.values() if not file.flush())
        return subprocess.CompletedProcess(arguments, end.value.code or 0, out, err)

    return run


# Looking at the screen ---------------------------------------------------------------------------------------------


def screen_lines(app: TokenwalkApp) -> list[str]:
    """The text of the screen, line by line."""
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
    return style.color, style.bgcolor, bool(style.bold), bool(style.dim), bool(style.italic)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Starts a command in a pseudo-terminal with a configuration folder of its own."""
    opened: list[Terminal] = []

    def start(*arguments: str, **options: Any) -> Terminal:
        opened.append(Terminal(*arguments, path=tmp_path, **options))
        return opened[-1]

    yield start
    for each in opened:
        each.close()
