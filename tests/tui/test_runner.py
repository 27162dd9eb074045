"""The runner's thread with a scripted session: order of jobs, interruption, frames, errors, the end."""

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from playground import PATIENCE, Playground, failing, playgrounds

from core.errors import UserError
from core.generation.token import Token
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from core.walk.values import Snapshot
from tui.runner import Runner, waits


@pytest.fixture(name="play")
def play_fixture(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Playground]]:
    """Starts a playground; its runner is closed after the test."""
    yield from playgrounds(monkeypatch)


def test_operations_run_in_the_order_they_were_asked(play: Callable[..., Playground]) -> None:
    playground = play()
    seen: list[int] = []
    for number in range(50):
        playground.runner.submit(lambda _, number=number: seen.append(number), interrupts=number % 2 == 0)
    playground.ask(lambda _: None)
    assert seen == list(range(50))


def test_all_operations_run_on_one_other_thread(play: Callable[..., Playground]) -> None:
    playground = play()
    threads = {playground.ask(lambda _: threading.current_thread().name) for _ in range(3)}
    assert len(threads) == 1
    assert threading.current_thread().name not in threads


def test_an_operation_replaces_those_waiting_under_its_name(play: Callable[..., Playground]) -> None:
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


def test_a_step_waits_while_the_screen_answers_a_key_and_a_job_does_not(
    play: Callable[..., Playground], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "COURTESY", PATIENCE)
    playground = play()
    answering = threading.Event()
    answering.set()
    playground.runner.screen_answers = answering.is_set
    playground.runner.submit(lambda session: session.generating(3))
    assert playground.ask(lambda session: session.log.count("step"), interrupts=False) == 0
    answering.clear()
    playground.until(lambda: playground.session.log.count("step") == 3)


def test_a_step_waits_for_the_screen_for_a_moment_only(play: Callable[..., Playground]) -> None:
    playground = play()
    playground.runner.screen_answers = lambda: True
    playground.runner.submit(lambda session: session.generating(3))
    playground.until(lambda: playground.session.log.count("step") == 3)


def test_an_interruption_ends_a_generation_before_its_next_token(play: Callable[..., Playground]) -> None:
    playground = play()
    log = playground.session.log
    playground.runner.submit(lambda session: session.generating(10_000))
    playground.until(lambda: log.count("step") >= 3)
    steps = playground.ask(lambda session: session.log.count("step"))
    time.sleep(0.03)
    assert log.count("step") == steps
    assert playground.frames[-1].activity == "idle"


def test_pausing_ends_a_generation(play: Callable[..., Playground]) -> None:
    playground = play()
    playground.runner.submit(lambda session: session.generating(10_000))
    playground.until(lambda: playground.session.log.count("step") >= 3)
    playground.runner.pause()
    playground.until(lambda: "end" in playground.session.log)
    playground.until(lambda: playground.frames[-1].activity == "idle")
    assert playground.session.log.count("step") < 10_000


def test_an_operation_that_does_not_interrupt_runs_between_two_tokens(play: Callable[..., Playground]) -> None:
    playground = play()
    sampler = Sampler.of(temperature=0.5)
    playground.runner.submit(lambda session: session.generating(60))
    playground.until(lambda: playground.session.log.count("step") >= 3)
    steps = playground.ask(
        lambda session: (setattr(session, "sampler", sampler), session.log.count("step"))[1], interrupts=False
    )
    playground.until(lambda: "end" in playground.session.log)
    assert steps < 60
    assert playground.session.log.count("step") == 60
    assert playground.session.sampler == sampler


def test_the_last_frame_holds_every_token(play: Callable[..., Playground]) -> None:
    playground = play()
    playground.session.pause = 0
    playground.runner.submit(lambda session: session.generating(300))
    playground.until(lambda: "end" in playground.session.log)
    playground.until(lambda: playground.frames[-1].activity == "idle" and playground.frames[-1].generated)
    last = playground.frames[-1]
    assert last.snapshot is not None
    assert len(last.snapshot.tokens) == 301
    assert last.generated == 300
    assert last.rate


def test_frames_that_are_not_taken_are_replaced_by_the_newest(play: Callable[..., Playground]) -> None:
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
    playground.runner.submit(lambda session: session.generating(300))
    playground.until(lambda: "end" in playground.session.log)
    seconds = time.perf_counter() - began
    frames = [at for at in playground.published[first:] if at - began < seconds]
    assert playground.session.log.count("step") == 300
    assert 1 <= len(frames) <= 20 * seconds + 2


def test_tokens_are_scored_in_the_idle_time_and_an_operation_comes_first(play: Callable[..., Playground]) -> None:
    playground = play()
    playground.ask(lambda session: setattr(session, "to_score", 5))
    playground.until(lambda: playground.session.log.count("score") == 5)
    playground.ask(lambda session: setattr(session, "to_score", 10**9))
    playground.until(lambda: playground.session.log.count("score") > 5)
    assert playground.ask(lambda _: "answered") == "answered"
    playground.ask(lambda session: setattr(session, "to_score", 0))


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
    ids=["user error", "two lines", "no text", "memory", "memory of a GPU"],
)
def test_an_error_is_reported_in_one_line_and_once(
    play: Callable[..., Playground], error: Exception, line: str
) -> None:
    playground = play()
    playground.runner.submit(failing(error))
    playground.until(lambda: playground.problems)
    playground.ask(lambda session: session.step())
    playground.until(lambda: playground.frames[-1].snapshot and len(playground.frames[-1].snapshot.tokens) == 2)
    assert playground.problems == [line]


def test_an_error_ends_the_generation_and_the_walk_continues(play: Callable[..., Playground]) -> None:
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
    playground.runner.submit(lambda session: session.generating(10_000))
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


def test_a_runner_that_never_began_can_be_closed() -> None:
    assert Runner(lambda: None, 10).close()


def test_operations_before_the_first_model_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    playground = Playground()
    monkeypatch.setattr("core.loading.models.load_model", failing(UserError("no such model")))
    playground.runner.load(ModelChoice(), "a", Sampler())
    playground.runner.submit(lambda session: session.step())
    playground.runner.start()
    playground.until(lambda: playground.problems)
    assert playground.problems == ["no such model"]
    assert playground.runner.close(timeout=PATIENCE)


def test_a_model_on_the_slow_path_says_why_when_it_is_loaded(
    play: Callable[..., Playground], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = SimpleNamespace(
        choice=ModelChoice(name="big"),
        requests=None,
        info=SimpleNamespace(parameters=1, name="big", slow_path="no compiler available"),
        tokenizer=play().frames[-1].tokenizer,
    )
    monkeypatch.setattr("core.loading.models.load_model", lambda choice, report: loaded)
    playground = Playground()
    playground.runner.load(ModelChoice(name="big", dtype="int8"), "a", Sampler())
    playground.runner.start()
    playground.until(lambda: playground.problems)
    assert playground.problems == ["big runs on a slow path: no compiler available"]
    assert playground.runner.close(timeout=PATIENCE)


def test_a_tokenizer_that_may_be_wrong_says_so_when_it_is_loaded(
    play: Callable[..., Playground], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = SimpleNamespace(**vars(play().frames[-1].tokenizer) | {"warning": "ids may differ"})
    info = SimpleNamespace(parameters=1, name="big", slow_path="")
    loaded = SimpleNamespace(choice=ModelChoice(name="big"), requests=None, info=info, tokenizer=tokenizer)
    monkeypatch.setattr("core.loading.models.load_model", lambda choice, report: loaded)
    playground = Playground()
    playground.runner.load(ModelChoice(name="big"), "a", Sampler())
    playground.runner.start()
    playground.until(lambda: playground.problems)
    assert playground.problems == ["ids may differ"]
    assert playground.runner.close(timeout=PATIENCE)
