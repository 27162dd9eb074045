"""A runner over a scripted session, for tests without a model."""

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from core.generation.token import Token
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from core.walk.values import PromptForm, Snapshot
from tui.runner import Frame, Runner

PATIENCE = 10.0


class ScriptedSession:
    """A walk without a model. A step takes `pause` seconds; `log` records what happened."""

    def __init__(self, model: Any, sampler: Sampler = Sampler()) -> None:
        self.model, self.sampler = model, sampler
        self.tokens: list[Token] = []
        self.log: list[str] = []
        self.to_score = 0
        self.pause = 0.002
        self.available = self.ready = True
        self.turns = SimpleNamespace(answered=False)

    def prefill(self, ids: list[int], text: str | None = None) -> Iterator[object]:
        self.tokens = [Token(id, b"a") for id in ids]
        return iter(())

    def write(self, text: str, form: PromptForm, turn: int | None = None) -> Iterator[object]:
        return self.prefill([1], text)

    def step(self) -> Token:
        time.sleep(self.pause)
        self.tokens.append(Token(7, b"b", "sampled"))
        self.log.append("step")
        return self.tokens[-1]

    def generating(self, count: int) -> Iterator[Token]:
        try:
            for _ in range(count):
                yield self.step()
        finally:
            self.log.append("end")

    def unscored(self) -> bool:
        return self.to_score > 0

    def score(self) -> Iterator[None]:
        while self.to_score:
            self.to_score -= 1
            self.log.append("score")
            yield

    def snapshot(self) -> Snapshot:
        return Snapshot(tuple(self.tokens), 1, len(self.tokens), 0, self.sampler, False, False, None)


class Playground:
    """A runner over a scripted session, and what it published."""

    def __init__(self, fps: float = 200) -> None:
        self.published: list[float] = []
        self.taking = True
        self.frames: list[Frame] = []
        self.problems: list[str] = []
        self.runner = Runner(self._publish, fps)
        self.session: ScriptedSession

    def _publish(self) -> None:
        self.published.append(time.perf_counter())
        if self.taking:
            self.take()

    def take(self) -> Frame:
        frame, problems = self.runner.take()
        self.frames.append(frame)
        self.problems += map(str, problems)
        return frame

    def begin(self) -> None:
        self.runner.load(ModelChoice(), "a", Sampler())
        self.runner.start()
        self.session = self.ask(lambda session: session)

    def ask(self, operation: Callable[[Any], Any], **how: Any) -> Any:
        """Let the runner do something, and wait for its answer."""
        answer: list[Any] = []
        done = threading.Event()

        def run(session: Any) -> None:
            answer.append(operation(session))
            done.set()

        self.runner.submit(run, **how)
        assert done.wait(PATIENCE)
        return answer[0]

    def until(self, true: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end, "it never came true"
            time.sleep(0.001)


def playgrounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Playground]]:
    """Start a playground; its runner is closed after the test."""
    tokenizer = SimpleNamespace(encode=lambda text, special=False: [1], name="bytes", warning="")
    info = SimpleNamespace(parameters=1, name="scripted", device="cpu", dtype="fp32", slow_path="")
    monkeypatch.setattr(
        "core.loading.models.load_model",
        lambda choice, report: SimpleNamespace(choice=choice, info=info, tokenizer=tokenizer, requests=None),
    )
    monkeypatch.setattr("core.walk.session.Session", ScriptedSession)
    playgrounds: list[Playground] = []

    def start(fps: float = 200) -> Playground:
        playgrounds.append(Playground(fps))
        playgrounds[-1].begin()
        return playgrounds[-1]

    yield start
    for playground in playgrounds:
        assert playground.runner.close(timeout=PATIENCE)


def failing(error: Exception) -> Callable[..., object]:
    def run(*_: Any) -> object:
        raise error

    return run
