"""Owns the folder of saved walks: where it is, how its files are called, what is in it. No torch."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

import platformdirs

from core.errors import Action, UserError
from core.sessions import reader

LISTED = 50
"""Sessions that are looked into at once, the newest."""
STALE = 3600.0
"""Seconds after which what an interrupted writing left behind is swept away."""


@dataclass(frozen=True, slots=True)
class SavedSession:
    """A saved walk as a list shows it."""

    path: Path
    when: float
    """Seconds since 1970."""
    prompt: str = ""
    model: str = ""
    tokens: int = 0
    """Of its walk."""
    branches: int = 0
    problem: str | None = None
    """Why it cannot be opened."""


def default_folder() -> Path:
    """Where walks are saved."""
    return platformdirs.user_data_path("tokenwalk") / "sessions"


def prepare(folder: Path) -> None:
    """Make the folder, for its owner alone. Raises `UserError` where that is impossible."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror}") from error
    for left in folder.glob(".*.tmp"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE:
                left.unlink()


def free(folder: Path, prompt: str, suffix: str = ".json") -> Path:
    """A name that nothing has yet, of the time and the prompt."""
    words = "".join(c if c.isalnum() else "-" for c in prompt[:200])
    words = "-".join(filter(None, words.split("-")))[:40].strip("-") or "walk"
    stem = f"{datetime.now().astimezone():%Y-%m-%d-%H%M%S}-{words.lower()}"
    names = (f"{stem}{f'-{n}' if n > 1 else ''}{suffix}" for n in count(1))
    return next(path for name in names if not (path := folder / name).exists())


def _files(folder: Path) -> Iterator[tuple[float, Path]]:
    try:
        entries = [*folder.iterdir()]
    except OSError:
        return
    for path in entries:
        with suppress(OSError):
            if path.suffix == ".json" and path.is_file():
                yield path.stat().st_mtime, path


def newest(folder: Path) -> Path:
    """The session that was written last. Raises `UserError` where there is none."""
    if not (found := [*_files(folder)]):
        raise UserError(f"there is no saved session in {folder}; ", Action("session.save"), " saves one")
    return max(found)[1]


def saved_sessions(folder: Path) -> list[SavedSession]:
    """The newest sessions, newest first; broken ones with what is wrong with them."""
    return [_look(path, when) for when, path in sorted(_files(folder), reverse=True)[:LISTED]]


def _look(path: Path, when: float) -> SavedSession:
    try:
        found = reader.read_record(path)
    except UserError as mistake:
        return SavedSession(path, when, problem=str(mistake))
    about = found.model
    return SavedSession(
        path, when, found.prompt, f"{about.name} {about.device} {about.dtype}", len(found.path()), found.branches
    )
