"""The app under test, its runners, and how to wait until it has nothing left to do."""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from textual.app import App
from textual.pilot import Pilot

from core.loading.checkpoints.recipe import Recipe
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from core.walk.values import PromptForm
from tui.app import TokenwalkApp
from tui.runner import Frame, Operation, Question, Runner

PATIENCE = 60.0
"""Seconds after which a test gives up. It bounds a defect; no test waits for time to pass."""
TURNS = 5
"""Of the event loop, for which an app has nothing to do when it is idle: a task that has just ended may wake it."""


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


class ScriptedRunner:
    """Shows the frames of a test and records what it was asked for; no thread, no model."""

    def __init__(self, publish: Callable[[], None], fps: float) -> None:
        self._publish = publish
        self.fps = fps
        self.frame = Frame()
        self.problems: list[str] = []
        self.loads: list[tuple[ModelChoice, str]] = []
        self.operations: list[Operation] = []
        self.pauses = self.cancellations = 0
        self.scales: list[float] = []
        self.trainings: list[tuple[Recipe, Path]] = []
        self.training_requests: list[str] = []
        self.started = self.closed = self.empty = False

    def start(self) -> None:
        self.started = True
        self._publish()

    def load(self, choice: ModelChoice, text: str, sampler: Sampler, form: PromptForm = PromptForm()) -> None:
        self.loads.append((choice, text))

    def submit(self, operation: Operation, *, interrupts: bool = True, instead_of: str | None = None) -> None:
        self.operations.append(operation)

    def cancel_loading(self) -> None:
        self.cancellations += 1

    def scale_adapter(self, scale: float) -> None:
        self.scales.append(scale)

    def ask(self, question: Question | None) -> None:
        self.frame = replace(self.frame, question=question)

    def pause(self) -> None:
        self.pauses += 1

    def train(self, recipe: Recipe, folder: Path) -> None:
        self.trainings.append((recipe, folder))

    def resume_training(self) -> None:
        self.training_requests.append("resume")

    def pause_training(self) -> None:
        self.training_requests.append("pause")

    def stop_training(self) -> None:
        self.training_requests.append("stop")

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


class Waiting(threading.Event):
    """An event that tells whether a thread waits for it."""

    waited_for = False

    def wait(self, timeout: float | None = None) -> bool:
        self.waited_for = True
        try:
            return super().wait(timeout)
        finally:
            self.waited_for = False


class WatchedRunner(Runner):
    """The real runner; it tells when nothing is left to do."""

    def __init__(self, publish: Callable[[], None], fps: float) -> None:
        super().__init__(publish, fps)
        self._jobs._wake: Waiting = Waiting()

    def rests(self) -> bool:
        """Whether every job is done."""
        wake = self._jobs._wake
        return not self._jobs and wake.waited_for and not wake.is_set()

    @property
    def newest(self) -> Frame:
        return self._outbox.frame

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()


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
    quiet = 0
    while quiet < TURNS and app.is_running and not app._exception:
        quiet = quiet + 1 if is_idle(app) else 0
        assert time.monotonic() < end, "the app was never idle"
        await asyncio.sleep(0 if quiet else 0.001)


def is_idle(app: App[None]) -> bool:
    """Whether every widget waits for a message, and no change is undrawn."""
    screen = app.screen
    return not (
        app._resize_timer
        or screen._callbacks
        or screen._layout_required
        or screen._scroll_required
        or screen._repaint_required
        or screen._recompose_required
        or screen._dirty_widgets
    ) and all(
        pump._message_queue.empty() and pump._message_queue.ready_event._waiters and not pump._next_callbacks
        for pump in (app, *(widget for each in app.screen_stack for widget in each.walk_children(with_self=True)))
    )


async def settle(pilot: Pilot[None]) -> None:
    """Wait until all that was asked is done and drawn."""
    app = pilot.app
    await delivered(pilot)
    while not (app.runner.rests() and app.frame is app.runner.newest):
        await until(lambda: app.runner.rests() and app.frame is app.runner.newest)
        await delivered(pilot)  # which may ask for more
