"""The app in Vietnamese: nothing is cut off at 80 × 24 and 120 × 40; pictures of three screens."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from apps import delivered, until
from rich.cells import cell_len
from textual.content import Content
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Static

from core import language
from core.loading import ladder, listing
from tui.app import TokenwalkApp
from tui.screens.help import KEYS
from tui.screens.palette import plain

Make = Callable[..., TokenwalkApp]
Compare = Callable[..., bool]
PROMPT = "I prefer oat milk in my\n"
DIALOGS = ("question_mark", "I", "m", "d", "s", "P", "G", "slash", "S", "D", "T", "w", "x", "V", "p")
"""The keys that open something over the walk."""
SCREENS = ("c", "F", "t")
"""The keys that open a screen with a footer of its own."""


@pytest.fixture
def vietnamese(english: None) -> None:
    language.speak("vi")


@pytest.fixture
def rungs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else is installed differs."""
    rungs = [offer for offer in listing.offers() if offer.name in ladder.NAMES]
    monkeypatch.setattr(listing, "offers", lambda: rungs)


def cut_off(app: TokenwalkApp) -> Iterator[str]:
    """Titles that are longer than their border."""
    for widget in app.screen.query(Widget):
        if widget.display and widget.styles.border.top[0]:
            for title in (widget._border_title, widget._border_subtitle):
                if isinstance(title, Content) and cell_len(title.plain) > widget.outer_size.width - 4 > 0:
                    yield f"{widget!r}: {title.plain}"


@pytest.mark.parametrize(
    ("size", "keys"), [((80, 24), (*DIALOGS, *SCREENS)), ((120, 40), SCREENS)], ids=("80x24", "120x40")
)
async def test_nothing_is_cut_off(
    vietnamese: None, scripted: Make, scenes: Any, rungs_only: None, size: tuple[int, int], keys: tuple[str, ...]
) -> None:
    app, found = scripted(scenes.oat_milk(), text=PROMPT), {}
    async with app.run_test(size=size) as pilot:
        await until(lambda: app.frame.snapshot is not None)
        await delivered(pilot)
        found["walk"] = list(cut_off(app))
        for key in keys:
            await pilot.press(key)
            await delivered(pilot)
            assert len(app.screen_stack) > 1, key
            found[key] = list(cut_off(app))
            while len(app.screen_stack) > 1:
                app.pop_screen()
            await delivered(pilot)
        app.walk.set_focus(app.prompt)
        await delivered(pilot)
        found["prompt"] = list(cut_off(app))
    assert {key: texts for key, texts in found.items() if texts} == {}


async def test_the_footer_has_room_for_the_keys_that_it_has_in_english(
    vietnamese: None, scripted: Make, scenes: Any
) -> None:
    keys = []
    for name in language.languages():
        language.speak(name)
        app = scripted(scenes.oat_milk(), text=PROMPT)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(lambda app=app: app.frame.snapshot is not None)
            await delivered(pilot)
            keys.append([key.label for key in app.walk.footer.keys])
    assert keys[0][-1] == "?"
    assert all(each == keys[0] for each in keys)


@pytest.mark.parametrize("name", language.languages())
async def test_what_a_key_does_is_wrapped_beside_the_key(scripted: Make, scenes: Any, name: str) -> None:
    language.speak(name)
    app = scripted(scenes.oat_milk(), text=PROMPT)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("question_mark")
        await delivered(pilot)
        table = app.screen.query(Static).last()
        lines = [line.plain for line in table.content.split()]
        assert [line for line in lines if cell_len(line) > table.size.width] == []
        assert any(line.startswith(" " * KEYS) for line in lines)


def test_letters_without_marks_find_a_command() -> None:
    assert plain("Giảm nhiệt độ") == "giam nhiet do"
    assert plain("Đoán") == "doan"


# Pictures ----------------------------------------------------------------------------------------------------------


def pressing(key: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Press a key once the walk is on the screen."""

    async def go(pilot: Pilot[None]) -> None:
        await until(lambda: pilot.app.frame.snapshot is not None)
        await delivered(pilot)
        await pilot.press(key)
        await delivered(pilot)

    return go


def test_a_walk(vietnamese: None, snap_compare: Compare, scripted: Make, scenes: Any) -> None:
    assert snap_compare(scripted(scenes.oat_milk(), text=PROMPT), terminal_size=(80, 24))


def test_the_help(vietnamese: None, snap_compare: Compare, scripted: Make, scenes: Any) -> None:
    app = scripted(scenes.oat_milk(), text=PROMPT)
    assert snap_compare(app, run_before=pressing("question_mark"), terminal_size=(80, 24))


def test_the_form_of_a_training(
    vietnamese: None, trainings_folder: Path, snap_compare: Compare, scripted: Make, scenes: Any
) -> None:
    app = scripted(scenes.oat_milk(), text=PROMPT)
    assert snap_compare(app, run_before=pressing("t"), terminal_size=(80, 24))
