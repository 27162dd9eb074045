"""The app ends at once, whatever runs, and its threads end too."""

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from core.loading.choice import ModelChoice
from tui.app import TokenwalkApp
from tui.commands import walk
from tui.serve import DRIVER

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]

SOON = 1.5
"""Seconds, with much room for a busy machine; the aim is 0.3."""


async def quit_by_key(app: TokenwalkApp, key: str = "q") -> float:
    """Seconds from the key until the app has ended."""
    began = time.perf_counter()
    app.simulate_key(key)
    while app.is_running:
        assert time.perf_counter() - began < 10
        await asyncio.sleep(0.002)
    return time.perf_counter() - began


async def test_quitting_while_nothing_runs(real: Make, settle: Go) -> None:
    app = real("oat")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert not app.runner.empty
        assert await quit_by_key(app) < SOON
    assert app.return_code == 0
    assert app.runner.ended


async def test_quitting_while_tokens_are_generated(real: Make, settle: Go, until: Go) -> None:
    app = real("oat", count=10**9)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.simulate_key("g")
        await until(lambda: app.frame.generated > 5)
        assert await quit_by_key(app) < SOON
    assert app.return_code == 0
    assert app.runner.ended


async def test_quitting_while_a_model_is_loaded(real: Make, until: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    loading, go_on = threading.Event(), threading.Event()

    def slow(choice: ModelChoice, report: object = None) -> Any:
        loading.set()
        go_on.wait(30)
        raise RuntimeError("too late")

    monkeypatch.setattr("core.loading.models.load_model", slow)
    app = real("oat")
    async with app.run_test(size=(80, 24)):
        await until(loading.is_set)
        await until(lambda: "loading" in app.status.render().plain)
        assert await quit_by_key(app) < SOON
    assert app.return_code == 0
    assert not app.runner.ended
    assert app.runner.empty
    go_on.set()
    assert app.runner.close(timeout=10)


async def test_quitting_while_a_long_prompt_is_scored(real: Make, until: Go) -> None:
    app = real("oat milk " * 5_000)
    async with app.run_test(size=(80, 24)):
        await until(lambda: app.frame.snapshot)
        assert await quit_by_key(app) < SOON
    assert app.runner.close(timeout=10)


@pytest.mark.parametrize("key", ["ctrl+q"])
async def test_quitting_while_the_prompt_is_written(real: Make, settle: Go, key: str) -> None:
    app = real()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert app.writing
        assert await quit_by_key(app, key) < SOON
    assert app.runner.ended


async def test_the_runner_is_closed_however_the_app_ends(scripted: Make) -> None:
    app = scripted(text="a")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert app.runner.started
        app.exit(return_code=3)
    assert app.runner.closed
    assert app.return_code == 3


@pytest.mark.parametrize(("empty", "says_more", "ends"), [(True, False, [7]), (False, False, []), (True, True, [])])
def test_the_program_ends_with_the_terminal_where_nothing_is_left_to_do(
    monkeypatch: pytest.MonkeyPatch, empty: bool, says_more: bool, ends: list[int]
) -> None:
    codes = list[int]()
    monkeypatch.setattr("os._exit", codes.append)
    walk._end_while_loading(SimpleNamespace(runner=SimpleNamespace(empty=empty), says_more=says_more, return_code=7))
    assert codes == ends


@pytest.mark.parametrize(
    ("kept", "driver", "said"),
    [
        (True, "", "tokenwalk: the walk is saved; tokenwalk --resume continues it\n"),
        (False, "", ""),
        (True, DRIVER, ""),
    ],
)
def test_a_walk_that_was_saved_is_named_after_the_app_unless_a_browser_was_its_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kept: bool, driver: str, said: str
) -> None:
    codes = list[int]()
    monkeypatch.setattr("os._exit", codes.append)
    monkeypatch.setenv("TEXTUAL_DRIVER", driver)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    closed = SimpleNamespace(close=lambda seconds: True, kept=kept)
    state = SimpleNamespace(frame=SimpleNamespace(snapshot=None))
    walk.run(SimpleNamespace(run=lambda: None, runner=closed, autosave=closed, state=state, return_code=0))
    assert (codes, *capsys.readouterr()) == ([0], "", said)


async def test_nothing_heavy_begins_before_the_first_frame(scripted: Make) -> None:
    app = scripted(text="oat")
    assert not app.runner.started
    assert app.runner.loads == []
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert app.runner.loads == [(ModelChoice(), "oat")]
        assert app.runner.started


async def test_keys_that_come_before_the_panels_act_when_they_are_there(scripted: Make, scenes: Any, until: Go) -> None:
    app = scripted(scenes.oat_milk(), text="oat")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        app.input_order.hold()
        for key in ("down", "down", "q", "space"):
            app.simulate_key(key)
        await until(lambda: len(app.input_order._waiting) == 4)
        assert app.candidates.cursor == 0
        assert app.is_running
        app._begin()
        await until(lambda: app._exit)
        assert app.candidates.cursor == 2
