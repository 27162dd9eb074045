"""Keys that arrive together act in the order in which they were typed, as in a simple model of an editor."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from apps import delivered
from textual import events

from tui.app import TokenwalkApp
from tui.driver import InputParser

Make = Callable[..., TokenwalkApp]

BACKSPACE, DELETE, CTRL_U, LEFT, RIGHT, HOME, END = "\x7f", "\x1b[3~", "\x15", "\x1b[D", "\x1b[C", "\x1b[H", "\x1b[F"
NEWLINE, ENTER, ESCAPE, STEP, WRITE = "\n", "\r", "\x1b", " ", "i"
EDITS = (*"abgijq ", *"abgijq ", "é", BACKSPACE, BACKSPACE, DELETE, CTRL_U, LEFT, LEFT, RIGHT, HOME, END, NEWLINE)


@dataclass
class Editor:
    """The prompt before and after the cursor, whether it takes the keys, and what the runner was asked for."""

    before: str = ""
    after: str = ""
    writing: bool = True
    asked: list[str | None] = field(default_factory=list)

    def press(self, key: str) -> None:
        if not self.writing:
            self.writing = key == WRITE
            self.asked += [None] if key == STEP else []
            return
        text = self.before + self.after
        line = self.before.rpartition("\n")[2]
        if key in (ENTER, ESCAPE):
            self.writing = False
        elif key == BACKSPACE:
            self.before = self.before[:-1]
        elif key == DELETE:
            self.after = self.after[1:]
        elif key == CTRL_U:
            self.before = self.before.removesuffix(line) if line else self.before[:-1]
        elif key == HOME:
            self.move(-len(line))
        elif key == END:
            self.move(len(self.after.partition("\n")[0]))
        elif key in (LEFT, RIGHT):
            self.move(1 if key == RIGHT else -1)
        else:
            self.before += key
        self.asked += ["prompt"] if self.before + self.after != text else []

    def move(self, by: int) -> None:
        text, at = self.before + self.after, max(0, len(self.before) + by)
        self.before, self.after = text[:at], text[at:]


def burst(chance: random.Random) -> list[str]:
    """Keys for the model, which leave the prompt and come back now and then."""
    keys = list[str]()
    for _ in range(chance.randrange(1, 5)):
        keys += chance.choices(EDITS, k=chance.randrange(12))
        keys += [chance.choice((ENTER, ESCAPE)), *STEP * chance.randrange(3), WRITE]
    return keys[: len(keys) - chance.randrange(4)]


def messages(data: str, chance: random.Random) -> list[events.Event]:
    """What the driver reads where the bytes arrive in pieces, of which some end within a sequence."""
    parser, read = InputParser(), list[events.Event]()
    while data:
        size = chance.choice((1, 2, 3, 200))
        read += [each for each in parser.feed(data[:size]) if isinstance(each, events.Event)]
        data = data[size:]
    parser._held_until = 0.0
    return [*read, *(each for each in parser.tick() if isinstance(each, events.Event))]


async def test_bursts_of_keys_do_what_the_keys_do_one_by_one(scripted: Make, scenes: Any) -> None:
    chance = random.Random(1)
    async with scripted(scenes.oat_milk(), text="").run_test(size=(80, 24)) as pilot:
        app = pilot.app
        await delivered(pilot)
        asked = list[str | None]()
        app.runner.submit = lambda operation, **how: asked.append(how.get("instead_of"))
        model = Editor()
        for _ in range(12):
            app.walk.writing_actions.replace("")
            asked.clear()
            model = Editor(writing=model.writing)
            keys = ([] if model.writing else [WRITE]) + burst(chance)
            for key in keys:
                model.press(key)
            for message in messages("".join(keys), chance):
                app.post_message(message)
            await delivered(pilot)
            assert (app.prompt.text, app.writing) == (model.before + model.after, model.writing), keys
            # changes noticed together are read once
            assert [key for key, _ in groupby(asked)] == [key for key, _ in groupby(model.asked)], keys


async def test_a_paste_has_its_turn_among_the_keys(scripted: Make) -> None:
    async with scripted(text="").run_test(size=(80, 24)) as pilot:
        await delivered(pilot)
        for message in messages("ab\x7f\x1b[200~xy\x1b[201~\x7fz", random.Random(2)):
            pilot.app.post_message(message)
        await delivered(pilot)
        assert pilot.app.prompt.text == "axz"


async def test_text_that_follows_the_key_of_a_dialog_is_typed_into_it(scripted: Make) -> None:
    async with scripted(text="oat").run_test(size=(80, 24)) as pilot:
        await delivered(pilot)
        for message in messages("smq12\x7f3", random.Random(3)):
            pilot.app.post_message(message)
        await delivered(pilot)
        assert pilot.app.is_running
        assert len(pilot.app.screen_stack) == 2


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("\x1bq", ["escape", "q"]),
        ("\x1b\x1bq", ["escape", "escape", "q"]),
        ("a\x1b i\x1b[A", ["a", "escape", "space", "i", "up"]),
        ("\x1b\r\x1bb\x1bOP", ["alt+enter", "ctrl+left", "f1"]),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("size", [1, 2, 200])
def test_an_escape_that_begins_no_sequence_is_a_key(data: str, expected: list[str], size: int) -> None:
    parser, keys = InputParser(), list[str]()
    for at in range(0, len(data), size):
        keys += [each.key for each in parser.feed(data[at : at + size]) if isinstance(each, events.Key)]
    assert keys == expected


def test_a_burst_in_a_terminal_is_edited_in_order(terminal: Callable[..., Any], tmp_path: Path) -> None:
    app = terminal("--tokenizer", "bytes")
    app.until(b"others")
    app.press(b"The quick brown fox" + b"\x7f" * 4 + b" dog jumped\x1b[")
    app.press(b"D\x7f!\x1b[Fx\r ")
    app.until(b"1 generated")
    app.press(b"q")
    assert app.ended() == 0
    saved = [path.read_text() for path in tmp_path.rglob("*.json*")]
    assert any("The quick brown dog jump!dx" in text for text in saved)
