"""An app in plain lines under test: what it says while it is given lines of commands, or keys."""

import asyncio
import os
from collections.abc import Iterator

import pytest

from tui.drawing import text
from tui.drawing.spoken import is_plain
from tui.plain.desk import Desk
from tui.plain.keyboard import Lines
from tui.plain.spoken_app import Spoken


def said_by(app: Spoken, *commands: str) -> list[str]:
    """What an app says while it is given commands, a line each."""
    read, write = os.pipe()
    os.write(write, "".join(f"{command}\n" for command in commands).encode())
    os.close(write)
    said: list[str] = []
    try:
        assert asyncio.run(Desk(app, Lines(read), said.append).run()) == 0
    finally:
        assert app.runner.close(10)
        app.autosave.close(10)
        os.close(read)
    return said


def drawn(lines: list[str]) -> set[str]:
    """Characters that draw, or stand for something: neither letters nor digits nor signs of a keyboard."""
    return {each for line in lines for each in line if not is_plain(each)}


@pytest.fixture(autouse=True)
def spoken_labels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Labels are written for a screen reader during the test alone."""
    monkeypatch.setattr(text, "_spoken", False)
    text.speak()
    yield
    text.label.cache_clear()
