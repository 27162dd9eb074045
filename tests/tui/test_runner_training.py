"""Training on the runner's thread, in its idle time: pause, resume, stop, and errors."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from playground import Playground, playgrounds

from core.errors import UserError
from core.loading.checkpoints.recipe import Recipe
from core.training.events import Begun, Stepped
from core.training.status import TrainingStatus


@pytest.fixture(name="play")
def play_fixture(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Playground]]:
    """Starts a playground; its runner is closed after the test."""
    yield from playgrounds(monkeypatch)


# A rung that learns ------------------------------------------------------------------------------------------------


class ScriptedTraining:
    """Learns without a model; `log` says how it was left."""

    log: ClassVar[list[str]] = []
    full = False
    """Whether the disk is, so that leaving it fails."""

    def __init__(self, recipe: Recipe, folder: Path, device: object, observe: object) -> None:
        self.name = folder.name
        self.step = 0

    def run(self) -> Iterator[object]:
        yield Begun("a", "b", 1, 257, 8, 10**6, 5.5, None, self.step)
        try:
            while True:
                time.sleep(0.001)
                self.step += 1
                yield Stepped(self.step, 1.0, 0.1, 1.0, 1.0, 1.0)
        finally:
            self.log.append(f"left {self.name}")
            if self.full:
                raise UserError("the disk is full")


@pytest.fixture
def learn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Playground, str], None]:
    """Let a rung learn under a name."""
    monkeypatch.setattr("core.training.training.Training", ScriptedTraining)
    monkeypatch.setattr(ScriptedTraining, "log", [])

    def begin(playground: Playground, name: str) -> None:
        playground.runner.train(Recipe(), tmp_path / name)
        playground.until(lambda: learning(playground).name == name and learning(playground).step > 2)

    return begin


def learning(playground: Playground) -> TrainingStatus:
    return playground.frames[-1].training or TrainingStatus(Recipe(), "")


Learn = Callable[[Playground, str], None]


def test_training_goes_on_in_the_idle_time(play: Callable[..., Playground], learn: Learn) -> None:
    playground = play()
    learn(playground, "one")
    assert playground.ask(lambda session: session.step()).origin == "sampled"
    at = learning(playground).step
    playground.until(lambda: learning(playground).step > at)


def test_training_is_paused_resumed_and_stopped(play: Callable[..., Playground], learn: Learn) -> None:
    playground = play()
    learn(playground, "one")
    playground.runner.pause_training()
    playground.until(lambda: learning(playground).state == "paused")
    assert ScriptedTraining.log == ["left one"]
    at = learning(playground).step
    playground.runner.resume_training()
    playground.until(lambda: learning(playground).step > at)
    playground.runner.stop_training()
    playground.until(lambda: learning(playground).state == "ended")
    at = playground.ask(lambda _: learning(playground).step)
    playground.runner.resume_training()
    playground.ask(lambda _: None)
    assert (learning(playground).step, learning(playground).state) == (at, "ended")
    assert ScriptedTraining.log == ["left one", "left one"]


def test_a_new_training_replaces_the_one_before(play: Callable[..., Playground], learn: Learn) -> None:
    playground = play()
    learn(playground, "one")
    learn(playground, "another")
    assert ScriptedTraining.log == ["left one"]
    assert learning(playground).state == "training"


def test_training_is_paused_although_its_state_cannot_be_saved(
    play: Callable[..., Playground], learn: Learn, monkeypatch: pytest.MonkeyPatch
) -> None:
    playground = play()
    monkeypatch.setattr(ScriptedTraining, "full", True)
    learn(playground, "one")
    playground.runner.pause_training()
    playground.until(lambda: playground.problems)
    assert playground.problems == ["the disk is full"]
    assert learning(playground).state == "paused"
