"""What tests of saved walks look at: the files, the walk, and the list of sessions."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import OptionList

from core.sessions import reader, record
from tui.app import TokenwalkApp
from tui.dialogs.choose import ChooseScreen

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]


def files(path: Path) -> list[Path]:
    return sorted((path / "sessions").glob("*.json"))


def walk_of(app: TokenwalkApp) -> record.Record:
    return replace(record.record_of(app.runner._session), written="", program="")


def read(path: Path) -> record.Record:
    return replace(reader.read_record(path), written="", program="")


def notes(app: TokenwalkApp) -> list[str]:
    return [note.message for note in app._notifications]


async def saved_as_it_is(app: TokenwalkApp, path: Path, until: Go) -> None:
    """Wait until the newest file has the present walk."""
    await until(lambda: files(path) and read(files(path)[-1]) == walk_of(app))


async def chosen(pilot: Pilot[None], until: Go, word: str) -> None:
    """Choose the entry of a picker that has a word in it."""
    await until(lambda: isinstance(pilot.app.screen, ChooseScreen) and pilot.app.screen.is_mounted)
    options = pilot.app.screen.query_one(OptionList)
    options.highlighted = next(n for n, option in enumerate(options.options) if word in str(option.prompt))
    options.action_select()
    await until(lambda: not isinstance(pilot.app.screen, ChooseScreen))
