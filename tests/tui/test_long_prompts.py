"""Long prompts: only visible rows are drawn, and a paste that is too long is refused."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual import events
from textual.widget import Widget

from core.loading.choice import ModelChoice
from tui.app import TokenwalkApp
from tui.panels.prompt import LONGEST

Make = Callable[..., TokenwalkApp]
Settle = Callable[..., Awaitable[None]]


@pytest.fixture
def long_frame(scenes: Any) -> Any:
    tokens = scenes.tokens([f" w{n}" for n in range(10_000)])
    return scenes.frame(tokens, scenes.chart(["a", "b", "c"]), context=1024)


def counted(panel: Widget, name: str) -> list[int]:
    """Count the calls of one of a panel's painting methods."""
    calls: list[int] = []
    paint = getattr(panel, name)

    def counting(index: int) -> Any:
        calls.append(index)
        return paint(index)

    setattr(panel, name, counting)
    return calls


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_only_the_rows_on_the_screen_are_drawn(
    scripted: Make, long_frame: Any, until: Any, size: tuple[int, int]
) -> None:
    async with scripted(text="a").run_test(size=size) as pilot:
        app = pilot.app
        pieces = counted(app.tokens, "_piece")
        lines = counted(app.generation, "render_line")
        app.runner.show(long_frame)
        await until(lambda: 9_999 in pieces)
        assert len(set(pieces)) < 1_000
        assert lines
        assert len(set(lines)) <= app.generation.size.height


async def test_a_key_draws_only_what_it_changes(scripted: Make, long_frame: Any) -> None:
    async with scripted(text="a").run_test(size=(120, 36)) as pilot:
        app = pilot.app
        app.runner.show(long_frame)
        await pilot.pause()
        pieces = counted(app.tokens, "_piece")
        lines = counted(app.generation, "render_line")
        await pilot.pause()
        while pieces or lines:  # until the long prompt is laid out
            pieces.clear(), lines.clear()
            await pilot.pause()
        await pilot.press("down", "down", "up")
        assert pieces == []
        assert lines == []


async def test_the_cursor_is_in_view_wherever_it_stands(
    scripted: Make, scenes: Any, long_frame: Any, until: Settle, marked: Callable[[Widget, str], str]
) -> None:
    tokens = long_frame.snapshot.tokens
    async with scripted(long_frame, text="a").run_test(size=(80, 24)) as pilot:
        app = pilot.app
        await until(lambda: marked(app.tokens, "tokens--cursor").strip() == "·w9999")
        await until(lambda: marked(app.generation, "generation--cursor") == " w9999")
        for cursor in (1, 5_000, 9_990, 10_000):
            app.runner.show(scenes.frame(tokens, None, cursor=cursor, context=1024))
            await until(lambda cursor=cursor: marked(app.tokens, "tokens--cursor").strip() == f"·w{cursor - 1}")
        assert marked(app.generation, "generation--cursor") == " w9999"


async def test_pages_scroll_by_key(scripted: Make, long_frame: Any, until: Settle) -> None:
    async with scripted(long_frame, text="a").run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        for panel in (pilot.app.tokens, pilot.app.generation):
            panel.focus()
            await pilot.pause()
            bottom = panel.scroll_offset.y
            assert bottom > 0
            await pilot.press("pageup")
            await until(lambda panel=panel, bottom=bottom: panel.scroll_offset.y < bottom)


async def test_a_megabyte_is_pasted_and_keys_still_act(real: Make, until: Settle) -> None:
    text = "I prefer oat milk in my coffee. " * (2**20 // 32)
    async with real(choice=ModelChoice(device="cpu")).run_test(size=(80, 24)) as pilot:
        app = pilot.app
        app.post_message(events.Paste(text))
        await until(lambda: app.frame.snapshot and len(app.frame.snapshot.tokens) > 200_000)
        assert app.prompt.text == text
        count = len(app.frame.snapshot.tokens)
        await pilot.press("escape")
        await until(lambda: app.focused is app.candidates)
        await pilot.press("space")
        await until(lambda: len(app.frame.snapshot.tokens) == count + 1)
        assert app.frame.snapshot.tokens[-1].origin == "sampled"


async def test_a_paste_beyond_the_limit_is_refused_and_the_prompt_stays(real: Make, settle: Settle) -> None:
    async with real(text="oat milk").run_test(size=(80, 24)) as pilot:
        app = pilot.app
        await settle(pilot)
        await pilot.press("i")
        app.post_message(events.Paste("x" * (LONGEST + 1)))
        await settle(pilot)
        assert app.prompt.text == "oat milk"
        (note,) = app._notifications
        assert f"{LONGEST + 1:,}" in note.message
        assert "\n" not in note.message
        await pilot.press("!")
        await settle(pilot)
        assert len(app.prompt.text) == len("oat milk") + 1
        assert len(app.frame.snapshot.tokens) == len("oat milk") + 1


async def test_a_paste_just_within_the_limit_is_counted_with_what_is_there(scripted: Make) -> None:
    async with scripted(text="x" * 10).run_test(size=(80, 24)) as pilot:
        await pilot.press("i")
        pilot.app.post_message(events.Paste("y" * (LONGEST - 9)))
        await pilot.pause()
        assert pilot.app.prompt.text == "x" * 10


async def test_ten_thousand_tokens_are_read_shown_and_walked(real: Make, settle: Settle, press: Settle) -> None:
    async with real(text="oat milk! " * 1_000).run_test(size=(120, 36)) as pilot:
        app = pilot.app
        await settle(pilot)
        assert len(app.frame.snapshot.tokens) == 10_000
        await press(pilot, "home")
        assert app.frame.snapshot.cursor == 1
        assert str(app.tokens.border_title).endswith("· 1/10,000")
        await press(pilot, "end", "space")
        assert app.frame.snapshot.cursor == 10_001
