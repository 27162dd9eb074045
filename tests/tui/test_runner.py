"""The one thread that owns the model, with a scripted session: order, interruption, frames, mistakes, the end."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from core.errors import UserError
from core.generation.token import Token
from core.loading.checkpoints.recipe import Recipe
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from core.training.events import Begun, Stepped
from core.training.status import TrainingStatus
from core.walk.values import Snapshot
from tui.runner import Frame, Runner

PATIENCE = 10.0


class ScriptedSession:
    """A walk without a model: a step takes a moment, `log` says what happened."""

    def __init__(self, model: Any, sampler: Sampler = Sampler()) -> None:
        self.model, self.sampler = model, sampler
        self.tokens: list[Token] = []
        self.log: list[str] = []
        self.to_score = 0
        self.pause = 0.002

    def prefill(self, ids: list[int], text: str | None = None) -> Iterator[object]:
        self.tokens = [Token(id, b"a") for id in ids]
        return iter(())

    def step(self) -> Token:
        time.sleep(self.pause)
        self.tokens.append(Token(7, b"b", "sampled"))
        self.log.append("step")
        return self.tokens[-1]

    def generate(self, count: int) -> Iterator[Token]:
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


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Playground]]:
    """Start a playground; its runner is closed after the test."""
    words = SimpleNamespace(encode=lambda text, special=False: [1], name="bytes")
    info = SimpleNamespace(parameters=1, name="scripted", device="cpu", dtype="fp32")
    monkeypatch.setattr(
        "core.loading.models.load_model", lambda choice, report: SimpleNamespace(info=info, tokenizer=words)
    )
    monkeypatch.setattr("core.walk.session.Session", ScriptedSession)
    made: list[Playground] = []

    def start(fps: float = 200) -> Playground:
        made.append(Playground(fps))
        made[-1].begin()
        return made[-1]

    yield start
    for playground in made:
        assert playground.runner.close(timeout=PATIENCE)


def test_operations_run_in_the_order_they_were_asked(play: Callable[..., Playground]) -> None:
    playground = play()
    seen: list[int] = []
    for number in range(50):
        playground.runner.submit(lambda _, number=number: seen.append(number), interrupts=number % 2 == 0)
    playground.ask(lambda _: None)
    assert seen == list(range(50))


def test_all_of_it_happens_on_one_other_thread(play: Callable[..., Playground]) -> None:
    playground = play()
    threads = {playground.ask(lambda _: threading.current_thread().name) for _ in range(3)}
    assert len(threads) == 1
    assert threading.current_thread().name not in threads


def test_an_operation_takes_the_place_of_those_waiting_under_its_name(play: Callable[..., Playground]) -> None:
    playground = play()
    gate = threading.Event()
    seen: list[str] = []
    playground.runner.submit(lambda _: gate.wait(PATIENCE))
    for number in range(3):
        playground.runner.submit(lambda _, n=number: seen.append(f"prompt {n}"), instead_of="prompt")
        playground.runner.submit(lambda _, n=number: seen.append(f"sampler {n}"), instead_of="sampler")
        playground.runner.submit(lambda _, n=number: seen.append(f"step {n}"))
    gate.set()
    playground.ask(lambda _: None)
    assert seen == ["step 0", "step 1", "prompt 2", "sampler 2", "step 2"]


def test_an_interruption_ends_a_generation_before_its_next_token(play: Callable[..., Playground]) -> None:
    playground = play()
    log = playground.session.log
    playground.runner.submit(lambda session: session.generate(10_000))
    playground.until(lambda: log.count("step") >= 3)
    made = playground.ask(lambda session: session.log.count("step"))
    time.sleep(0.03)
    assert log.count("step") == made
    assert playground.frames[-1].activity == "idle"


def test_pausing_ends_a_generation(play: Callable[..., Playground]) -> None:
    playground = play()
    playground.runner.submit(lambda session: session.generate(10_000))
    playground.until(lambda: playground.session.log.count("step") >= 3)
    playground.runner.pause()
    playground.until(lambda: "end" in playground.session.log)
    playground.until(lambda: playground.frames[-1].activity == "idle")
    assert playground.session.log.count("step") < 10_000


def test_what_does_not_interrupt_happens_between_two_tokens(play: Callable[..., Playground]) -> None:
    playground = play()
    sampler = Sampler(temperature=0.5)
    playground.runner.submit(lambda session: session.generate(60))
    playground.until(lambda: playground.session.log.count("step") >= 3)
    made = playground.ask(
        lambda session: (setattr(session, "sampler", sampler), session.log.count("step"))[1], interrupts=False
    )
    playground.until(lambda: "end" in playground.session.log)
    assert made < 60
    assert playground.session.log.count("step") == 60
    assert playground.session.sampler == sampler


def test_the_last_frame_holds_every_token(play: Callable[..., Playground]) -> None:
    playground = play()
    playground.session.pause = 0
    playground.runner.submit(lambda session: session.generate(300))
    playground.until(lambda: "end" in playground.session.log)
    playground.until(lambda: playground.frames[-1].activity == "idle" and playground.frames[-1].generated)
    last = playground.frames[-1]
    assert last.snapshot is not None
    assert len(last.snapshot.tokens) == 301
    assert last.generated == 300
    assert last.rate


def test_a_late_reader_finds_the_newest_frame(play: Callable[..., Playground]) -> None:
    playground = play()
    playground.until(lambda: playground.frames and playground.frames[-1].activity == "idle")
    playground.taking = False
    before = len(playground.published)
    for _ in range(5):
        playground.ask(lambda session: session.step())
    playground.until(lambda: len(playground.session.tokens) == 6)
    playground.ask(lambda _: None)
    assert len(playground.published) <= before + 1
    snapshot = playground.take().snapshot
    assert snapshot is not None
    assert len(snapshot.tokens) == 6


def test_frames_come_no_faster_than_the_limit_while_tokens_stream(play: Callable[..., Playground]) -> None:
    playground = play(fps=20)
    playground.session.pause = 0.001
    playground.ask(lambda _: None)
    first = len(playground.published)
    began = time.perf_counter()
    playground.runner.submit(lambda session: session.generate(300))
    playground.until(lambda: "end" in playground.session.log)
    seconds = time.perf_counter() - began
    frames = [at for at in playground.published[first:] if at - began < seconds]
    assert playground.session.log.count("step") == 300
    assert 1 <= len(frames) <= 20 * seconds + 2


def test_while_nothing_is_asked_tokens_are_scored_and_a_key_comes_first(play: Callable[..., Playground]) -> None:
    playground = play()
    playground.ask(lambda session: setattr(session, "to_score", 5))
    playground.until(lambda: playground.session.log.count("score") == 5)
    playground.ask(lambda session: setattr(session, "to_score", 10**9))
    playground.until(lambda: playground.session.log.count("score") > 5)
    assert playground.ask(lambda _: "answered") == "answered"
    playground.ask(lambda session: setattr(session, "to_score", 0))


def failing(error: Exception) -> Callable[..., object]:
    def run(*_: Any) -> object:
        raise error

    return run


STANDS = "the walk is unchanged; a smaller model or shorter prompt may fit"
NO_MEMORY = f"there is not enough memory; {STANDS}"
NO_MEMORY_FOR_2_GIB = f"there is no memory for 2.00 GiB more; {STANDS}"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("there are no more tokens"), "there are no more tokens"),
        (RuntimeError("broken\nsecond line"), "RuntimeError: broken"),
        (ZeroDivisionError(), "ZeroDivisionError: no reason given"),
        (MemoryError(), NO_MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"), NO_MEMORY_FOR_2_GIB),
    ],
    ids=["mistake", "two lines", "no words", "memory", "memory of a GPU"],
)
def test_what_goes_wrong_is_told_in_one_line_and_once(
    play: Callable[..., Playground], error: Exception, line: str
) -> None:
    playground = play()
    playground.runner.submit(failing(error))
    playground.until(lambda: playground.problems)
    playground.ask(lambda session: session.step())
    playground.until(lambda: playground.frames[-1].snapshot and len(playground.frames[-1].snapshot.tokens) == 2)
    assert playground.problems == [line]


def test_a_generation_that_fails_is_over_and_the_walk_goes_on(play: Callable[..., Playground]) -> None:
    playground = play()

    def breaking(session: Any) -> Iterator[Token]:
        yield session.step()
        raise RuntimeError("the device is gone")

    playground.runner.submit(breaking)
    playground.until(lambda: playground.problems)
    playground.until(lambda: playground.frames[-1].activity == "idle")
    assert playground.problems == ["RuntimeError: the device is gone"]
    assert playground.ask(lambda session: len(session.tokens)) == 2


def test_a_walk_that_cannot_be_shown_does_not_end_the_thread(play: Callable[..., Playground]) -> None:
    playground = play()

    def broken() -> Snapshot:
        raise RuntimeError("no snapshot")

    playground.ask(lambda session: setattr(session, "snapshot", broken))
    playground.until(lambda: playground.problems)
    assert playground.ask(lambda _: "alive") == "alive"


def test_a_model_that_cannot_be_loaded_leaves_the_walk_as_it_was(
    play: Callable[..., Playground], monkeypatch: pytest.MonkeyPatch
) -> None:
    playground = play()
    monkeypatch.setattr("core.loading.models.load_model", failing(UserError("no such model")))
    playground.runner.load(ModelChoice(name="model5"), "a", Sampler())
    playground.until(lambda: playground.problems)
    playground.until(lambda: playground.frames[-1].activity == "idle")
    assert playground.problems == ["no such model"]
    assert playground.frames[-1].choice == ModelChoice()
    assert playground.ask(lambda session: session) is playground.session


def test_closing_in_the_middle_of_a_generation_ends_the_thread_at_once(play: Callable[..., Playground]) -> None:
    playground = play()
    playground.session.pause = 0.01
    playground.runner.submit(lambda session: session.generate(10_000))
    playground.until(lambda: "step" in playground.session.log)
    began = time.perf_counter()
    assert playground.runner.close()
    assert time.perf_counter() - began < 0.3


def test_closing_does_not_wait_for_a_step_that_goes_on(play: Callable[..., Playground]) -> None:
    playground = play()
    gate, begun = threading.Event(), threading.Event()
    playground.runner.submit(lambda _: (begun.set(), gate.wait(PATIENCE)))
    assert begun.wait(PATIENCE)
    began = time.perf_counter()
    assert not playground.runner.close()
    assert time.perf_counter() - began < 0.3
    gate.set()


# A rung that learns ------------------------------------------------------------------------------------------------


class ScriptedTraining:
    """Learns without a model; `log` says how it was left."""

    log: ClassVar[list[str]] = []
    full = False
    """Whether the disk is, so that leaving it fails."""

    def __init__(self, recipe: Recipe, folder: Path, device: object) -> None:
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


def test_a_rung_learns_while_nothing_is_asked(play: Callable[..., Playground], learn: Learn) -> None:
    playground = play()
    learn(playground, "one")
    assert playground.ask(lambda session: session.step()).origin == "sampled"
    at = learning(playground).step
    playground.until(lambda: learning(playground).step > at)


def test_it_waits_goes_on_and_stops_when_it_is_told_to(play: Callable[..., Playground], learn: Learn) -> None:
    playground = play()
    learn(playground, "one")
    playground.runner.go_on_learning(False)
    playground.until(lambda: learning(playground).state == "paused")
    assert ScriptedTraining.log == ["left one"]
    at = learning(playground).step
    playground.runner.go_on_learning(True)
    playground.until(lambda: learning(playground).step > at)
    playground.runner.stop_learning()
    playground.until(lambda: learning(playground).state == "ended")
    at = playground.ask(lambda _: learning(playground).step)
    playground.runner.go_on_learning(True)
    playground.ask(lambda _: None)
    assert (learning(playground).step, learning(playground).state) == (at, "ended")
    assert ScriptedTraining.log == ["left one", "left one"]


def test_another_training_takes_its_place(play: Callable[..., Playground], learn: Learn) -> None:
    playground = play()
    learn(playground, "one")
    learn(playground, "another")
    assert ScriptedTraining.log == ["left one"]
    assert learning(playground).state == "training"


def test_it_waits_as_it_was_told_though_it_cannot_be_left_well(
    play: Callable[..., Playground], learn: Learn, monkeypatch: pytest.MonkeyPatch
) -> None:
    playground = play()
    monkeypatch.setattr(ScriptedTraining, "full", True)
    learn(playground, "one")
    playground.runner.go_on_learning(False)
    playground.until(lambda: playground.problems)
    assert playground.problems == ["the disk is full"]
    assert learning(playground).state == "paused"


def test_a_runner_that_never_began_can_be_closed() -> None:
    assert Runner(lambda: None, 10).close()


def test_what_is_asked_before_there_is_a_model_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    playground = Playground()
    monkeypatch.setattr("core.loading.models.load_model", failing(UserError("no such model")))
    playground.runner.load(ModelChoice(), "a", Sampler())
    playground.runner.submit(lambda session: session.step())
    playground.runner.start()
    playground.until(lambda: playground.problems)
    assert playground.problems == ["no such model"]
    assert playground.runner.close(timeout=PATIENCE)
