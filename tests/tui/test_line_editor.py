"""The line that is typed in plain mode: what it is in the end, and what the terminal shows of it."""

import pytest

from tui.plain.keyboard import Key, Line
from tui.plain.line_editor import BELL, LineEditor


def typed(*keys: str) -> tuple[Line | None, str]:
    """The last line of some keys, which are single characters or names; and the echo."""
    echo: list[str] = []
    editor = LineEditor(echo.append)
    lines = [editor.take(Key(key, key if len(key) == 1 else "")) for key in keys]
    return lines[-1], "".join(echo)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ((*"oat", "enter"), "oat"),
        (("enter",), ""),
        ((*"oak", "backspace", "t", "enter"), "oat"),
        ((*"oat milk", "ctrl+w", *"tea", "enter"), "oattea"),
        ((*"oat", "ctrl+u", *"tea", "enter"), "tea"),
        (("a", "tab", "b", "enter"), "a\tb"),
        ((*"oat", "escape"), None),
        (("ctrl+d",), None),
    ],
)
def test_a_line_is_edited(keys: tuple[str, ...], line: str | None) -> None:
    assert typed(*keys)[0] == Line(line)


def test_what_is_erased_leaves_the_terminal() -> None:
    """A wide character has two cells, and a mark goes with its letter."""
    assert typed("a", "backspace")[1] == "a\b \b"
    assert typed("茶", "backspace")[1] == "茶\b\b  \b\b"
    assert typed("a", "e", "\u0301", "backspace", "enter") == (Line("a"), "ae\u0301\b \b\n")


def test_a_key_that_does_nothing_is_heard() -> None:
    assert typed("up")[1] == typed("backspace")[1] == BELL


def test_what_is_said_meanwhile_stands_above_what_is_typed() -> None:
    shown: list[str] = []
    editor = LineEditor(shown.append)
    for key in "oat":
        editor.take(Key(key, key))
    editor.interrupted(lambda: shown.append("news\n"))
    assert "".join(shown) == "oat\nnews\noat"
