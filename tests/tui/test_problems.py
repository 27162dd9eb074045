"""Problems are spelled with the keys that are bound at present, and a slow terminal delays frames, not keys."""

import inspect
import io
from collections.abc import Awaitable, Callable
from dataclasses import replace
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest
from textual.drivers import linux_driver
from textual.drivers._writer_thread import WriterThread

from core.errors import Action, Option, UserError
from tui import app as app_module
from tui import terminal
from tui.app import TokenwalkApp
from tui.commands.models import models
from tui.input_order import InputOrder
from tui.settings import Settings
from tui.wording import keys_at_present, spell, spell_without_keys

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
PROBLEM = UserError("nothing here; ", Action("walk.step"), " samples a token, ", Option("dtype"), " chooses a format")


def notes(app: TokenwalkApp) -> list[str]:
    return [note.message for note in app._notifications]


@pytest.mark.parametrize(("keys", "label"), [({}, "space"), ({"walk.step": "f5"}, "f5")])
async def test_a_problem_names_the_key_that_is_bound_at_present(
    scripted: Make, scenes: Any, keys: dict[str, str], label: str
) -> None:
    line = f"nothing here; {label} samples a token, --dtype chooses a format"
    async with scripted(scenes.oat_milk(), text="a", settings=Settings(keys=keys)).run_test(size=(120, 36)) as pilot:
        await pilot.pause()
        pilot.app.runner.show(scenes.oat_milk(), PROBLEM)
        await pilot.pause()
        assert notes(pilot.app) == [line]
        assert pilot.app.spell(PROBLEM) == line


async def test_a_refusal_of_core_names_the_key_that_is_bound_at_present(real: Make, settle: Go, press: Go) -> None:
    app = real("oat")
    app.notices.key_of = keys_at_present({"walk.write": "f6"})
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "u")
        assert notes(app) == ["there is nothing to undo; f6 edits the prompt"]


def test_a_setting_that_a_key_gives_too_is_that_key_in_the_app_and_a_flag_on_the_command_line() -> None:
    problem = UserError("{option} gives it", option=Option("corrupt", action="question.corrupt"))
    assert spell(problem, keys_at_present()) == "z gives it"
    assert spell_without_keys(problem) == "--corrupt gives it"


def test_every_action_has_a_label() -> None:
    assert spell(UserError(Action("prompt.leave")), keys_at_present()) == "⏎"


def driver(**parts: object) -> Any:
    return SimpleNamespace(_driver=SimpleNamespace(**parts))


@pytest.mark.parametrize(("waiting", "behind"), [(0, False), (1, False), (2, True)])
def test_a_terminal_is_behind_where_writes_wait(waiting: int, behind: bool) -> None:
    queue: Queue[str] = Queue()
    for _ in range(waiting):
        queue.put("")
    assert terminal.is_behind(driver(_writer_thread=SimpleNamespace(_queue=queue))) is behind


@pytest.mark.parametrize(
    "app",
    [driver(), driver(_writer_thread=None), driver(_writer_thread=SimpleNamespace(_queue=object()))],
    ids=["no thread", "None for a thread", "another queue"],
)
def test_a_driver_without_the_queue_counts_as_in_time(app: Any) -> None:
    """Frames are drawn at their usual rate then."""
    assert not terminal.is_behind(app)


def test_the_driver_of_this_version_of_textual_has_the_queue() -> None:
    """If this fails, `terminal.is_behind` always answers False: look for another way to ask the driver."""
    assert "self._writer_thread" in inspect.getsource(linux_driver.LinuxDriver)
    assert isinstance(WriterThread(io.StringIO())._queue, Queue)


async def test_a_frame_is_drawn_later_where_the_terminal_is_behind(
    scripted: Make, scenes: Any, until: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scripted(text="a").run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        behind = True
        monkeypatch.setattr(terminal, "is_behind", lambda app: behind)
        pilot.app.runner.show(scenes.oat_milk())
        await pilot.pause()
        assert pilot.app.frame.snapshot is None
        behind = False
        await until(lambda: pilot.app.frame.snapshot is not None)


async def test_a_key_that_was_read_is_answered_before_a_stream_goes_on(
    scripted: Make, scenes: Any, until: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "LATEST_FRAME", 1e9)
    streaming = replace(scenes.oat_milk(), activity="generating")
    async with scripted(streaming, text="a").run_test(size=(80, 24)) as pilot:
        app = pilot.app
        await until(lambda: app.frame.activity == "generating")
        app.announce_input()
        app.runner.show(replace(streaming, generated=2))
        await pilot.pause()
        assert app.frame.generated != 2
        await pilot.press("down")
        await until(lambda: app.frame.generated == 2)


async def test_a_stream_goes_on_although_a_key_never_comes(
    scripted: Make, scenes: Any, until: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    streaming = replace(scenes.oat_milk(), activity="generating")
    async with scripted(streaming, text="a").run_test(size=(80, 24)) as pilot:
        app = pilot.app
        await until(lambda: app.frame.activity == "generating")
        monkeypatch.setattr(InputOrder, "answering", True)
        app.runner.show(replace(streaming, generated=2))
        await until(lambda: app.frame.generated == 2)


# The slow path -------------------------------------------------------------------------------------------------------


async def test_the_status_line_names_the_slow_path(
    scripted: Make, scenes: Any, screen_lines: Callable[..., list[str]]
) -> None:
    fast = scenes.oat_milk()
    slow = replace(fast, model=replace(fast.model, slow_path="no compiler available"))
    async with scripted(slow, text="a").run_test(size=(120, 36)) as pilot:
        await pilot.pause()
        assert "cpu fp32 │ slow path" in "\n".join(screen_lines(pilot.app))
        pilot.app.runner.show(fast)
        await pilot.pause()
        assert "slow path" not in "\n".join(screen_lines(pilot.app))


def test_models_says_that_packed_weights_are_slow_without_numba(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("core.loading.listing.offers", list)
    models(as_json=True)
    assert capsys.readouterr() == (
        "",
        "tokenwalk: GGUF files, int8 and int4 run on a slow path: the package numba is not installed\n",
    )
