"""Text that would command the terminal, break markup or shift columns is drawn, and does nothing."""

import unicodedata
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from rich.cells import cell_len
from textual.widget import Widget
from textual.widgets import OptionList

from core.engine.info import DeviceInfo
from tui.app import TokenwalkApp
from tui.runner import Frame

HOSTILE = {
    "closing markup": "[/bold] [/] [red]x[/red] [@click=app.quit]x[/] [",
    "clear screen": "\x1b[2J\x1b[H\x1b]0;title\x07",
    "clipboard": "\x1b]52;c;aGVsbG8=\x07\x1b]52;c;!\x1b\\",
    "eight-bit control": "\x9b2J\x9d52;c;aGk=\x9c",
    "bidi override": "\u202egnp.exe\u202c\u2066x\u2069\u061c",
    "wide": "字字字 한국어 ｆｕｌｌ 🫠",
    "family": "👨\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈 👍\U0001f3fd 1\ufe0f\u20e3",
    "invisible": "a\u200bb\u2060c\ufeffd\u00ade\U000e0041\U000e0100f\ufe00g",
    "combining": "e\u0301\u0301\u0301 \u0301x न\u093eम\u0947 ก\u0e33",
    "control": "a\0b\x07c\x08d\rE\tf\x0bg\x0ch\x7fi\x85j",
    "separators": "a\u2028b\u2029c\nd\r\ne",
    "half a pair": "a\ud800b\udfff",
    "long": "word" * 200,
}
HALVES = [b"\xe2\x80", b"\xf0\x9f\x98", b"\x80", b"\xff\xfe", b"a\xc3", b"\x1b", b"\x9b"]

Make = Callable[..., TokenwalkApp]


def commands(lines: list[str]) -> list[str]:
    """The characters that a terminal would obey, hide or join."""
    return [
        c
        for line in lines
        for c in line
        if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        or 0xFE00 <= ord(c) <= 0xFE0F
        or 0xE0100 <= ord(c) <= 0xE01EF
        or 0x1F3FB <= ord(c) <= 0x1F3FF
    ]


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@pytest.fixture
def harm(
    screen_lines: Callable[[TokenwalkApp], list[str]], panel_lines: Callable[[Widget], list[str]]
) -> Callable[[TokenwalkApp], list[str]]:
    """What the screen holds that a terminal would obey, and lines that are not as wide as their panel."""

    def found(app: TokenwalkApp) -> list[str]:
        lines = screen_lines(app)
        wrong = [f"{ord(c):#x}" for c in commands(lines)]
        wrong += [f"the screen: {line!r}" for line in lines if cell_len(line) != app.size.width]
        for panel in (app.tokens, app.candidates, app.generation):
            width = panel.scrollable_content_region.width
            wrong += [f"{panel.id}: {line!r}" for line in panel_lines(panel) if cell_len(line) != width]
        return wrong

    return found


Harm = Callable[[TokenwalkApp], list[str]]


async def test_in_a_prompt(scripted: Make, harm: Harm) -> None:
    found = {}
    async with scripted().run_test(size=(80, 24)) as pilot:
        for name, text in HOSTILE.items():
            pilot.app.prompt.text = text
            await pilot.press("shift+end")
            found[name] = harm(pilot.app)
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("size", [(60, 18), (120, 36)])
async def test_in_tokens_candidates_and_generated_text(
    scripted: Make, scenes: Any, harm: Harm, size: tuple[int, int]
) -> None:
    pieces = [encoded(text) for text in HOSTILE.values()] + HALVES
    async with scripted(text="a").run_test(size=size) as pilot:
        for panel in ("candidates", "generation", "tokens"):
            for cursor, prompt_length in ((9, len(pieces)), (len(pieces), 1)):
                frame = scenes.frame(
                    scenes.tokens(pieces),
                    scenes.chart(pieces, taken=min(cursor, len(pieces) - 1)),
                    cursor=cursor,
                    prompt_length=prompt_length,
                )
                pilot.app.runner.show(frame)
                await pilot.pause()
                assert harm(pilot.app) == []
            assert pilot.app.focused.id == panel
            await pilot.press("tab" if panel == "candidates" else "shift+tab")
            await pilot.press(*["shift+tab"] * (panel == "generation"))


async def test_in_what_a_model_is_called(scripted: Make, scenes: Any, harm: Harm) -> None:
    found = {}
    async with scripted(text="a").run_test(size=(200, 40)) as pilot:
        for name, text in HOSTILE.items():
            pilot.app.runner.show(scenes.oat_milk(name=text))
            await pilot.pause()
            found[name] = harm(pilot.app)
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


async def test_in_problems(scripted: Make, scenes: Any, harm: Harm) -> None:
    found = {}
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(120, 40)) as pilot:
        for name, text in HOSTILE.items():
            pilot.app.clear_notifications()
            pilot.app.runner.show(scenes.oat_milk(), f"{text} cannot be read")
            await pilot.pause()
            assert [note.message[-14:] for note in pilot.app._notifications] == ["cannot be read"]
            found[name] = harm(pilot.app)
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


async def test_in_what_a_device_is_called(
    scripted: Make, scenes: Any, screen_lines: Callable[[TokenwalkApp], list[str]]
) -> None:
    found = {}
    async with scripted(text="a").run_test(size=(120, 36)) as pilot:
        for name, text in HOSTILE.items():
            devices = (DeviceInfo("cpu", text, 2**34), DeviceInfo("cuda", "GPU", None, text))
            pilot.app.runner.show(Frame(devices=devices))
            await pilot.press("d")
            assert pilot.app.screen.query_one(OptionList).option_count == 4
            lines = screen_lines(pilot.app)
            found[name] = [f"{ord(c):#x}" for c in commands(lines)] + [line for line in lines if cell_len(line) != 120]
            pilot.app.pop_screen()
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


async def test_markup_in_a_prompt_is_typed_as_it_is(scripted: Make, write: Callable[..., Awaitable[None]]) -> None:
    text = "[/bold][red]"
    async with scripted().run_test(size=(80, 24)) as pilot:
        await write(pilot, text)
        assert pilot.app.prompt.text == text


@pytest.mark.parametrize("size", [(60, 18), (80, 24), (120, 36), (200, 60)])
async def test_the_columns_of_the_chart_stand_under_each_other(
    scripted: Make, scenes: Any, panel_lines: Callable[[Widget], list[str]], size: tuple[int, int]
) -> None:
    pieces = [encoded(text) for text in HOSTILE.values()] + HALVES
    shares = [0.04] * len(pieces)
    frame = scenes.frame(scenes.tokens(["a", "b"]), scenes.chart(pieces, shares))
    async with scripted(frame, text="ab").run_test(size=size) as pilot:
        await pilot.pause()
        rows = panel_lines(pilot.app.candidates)
        head, rows = rows[0], rows[1 : 1 + len(pieces)]
        end = head.rindex("p", 0, head.index("logit")) + 1
        shown = [row for row in rows if "4.00%" in row]
        assert len(shown) >= 5
        assert {cell_len(row[: row.index("4.00%")]) + 5 for row in shown} == {end}
