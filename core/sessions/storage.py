"""The folder of saved walks: its location, the names of its files, and a list of them. Needs no torch."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

import platformdirs

from core.atomic import NEW_FILE, make_folder
from core.errors import Action, UserError
from core.language import _
from core.sessions import reader
from core.sessions.journal import SUFFIX

LISTED = 50
"""Sessions that a list contains at most, the newest ones."""
STALE = 3600.0
"""Seconds after which a temporary file of an interrupted write is removed, and a journal without its session."""


@dataclass(frozen=True, slots=True)
class SavedSession:
    """A saved walk as a list shows it."""

    path: Path
    when: float
    """Seconds since 1970."""
    prompt: str = ""
    model: str = ""
    tokens: int = 0
    """Tokens of its walk."""
    branches: int = 0
    problem: str | None = None
    """Why it cannot be opened; None if it can."""


def default_folder() -> Path:
    """Where walks are saved."""
    return platformdirs.user_data_path("tokenwalk") / "sessions"


def prepare(folder: Path) -> None:
    """Create the folder, readable by its owner alone. Raises `UserError` if that fails."""
    make_folder(folder, private=True)
    for left in (*folder.glob(".*.tmp"), *_journals_alone(folder)):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE:
                left.unlink()


def _journals_alone(folder: Path) -> Iterator[Path]:
    """The journals whose session file was removed."""
    return (path for path in folder.glob(f"*{SUFFIX}") if not path.with_suffix("").with_suffix(".json").exists())


def free(folder: Path, prompt: str, suffix: str = ".json") -> Path:
    """An unused file name made of the time and the prompt."""
    return next(path for path in _names(folder, prompt, suffix) if not path.exists())


def _names(folder: Path, prompt: str, suffix: str) -> Iterator[Path]:
    slug = "".join(c if c.isalnum() else "-" for c in prompt[:200])
    slug = "-".join(filter(None, slug.split("-")))[:40].strip("-") or "walk"
    stem = f"{datetime.now().astimezone():%Y-%m-%d-%H%M%S}-{slug.lower()}"
    return (folder / f"{stem}{f'-{n}' if n > 1 else ''}{suffix}" for n in count(1))


def reserve(folder: Path, prompt: str) -> Path:
    """An unused name of a session, which no other process gets as well until it is written and `released`.

    Raises `UserError` where the folder cannot be written.
    """
    for path in _names(folder, prompt, ".json"):
        try:
            os.close(os.open(_reservation(path), NEW_FILE, 0o600))
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(_("{path} cannot be written: {reason}"), path=path, reason=error.strerror) from error
        if not path.exists():
            return path
        released(path)
    raise AssertionError("names do not end")


def released(path: Path) -> None:
    """Give a reserved name back."""
    _reservation(path).unlink(missing_ok=True)


def _reservation(path: Path) -> Path:
    return path.with_name(f".{path.stem}.tmp")


def _files(folder: Path) -> Iterator[tuple[float, Path]]:
    try:
        entries = [*folder.iterdir()]
    except OSError:
        return
    journals = dict[str, list[float]]()
    for path in entries:
        with suppress(OSError):
            if path.suffix == SUFFIX:
                journals.setdefault(Path(path.stem).stem, []).append(path.stat().st_mtime)
    for path in entries:
        with suppress(OSError):
            if path.suffix == ".json" and path.is_file():
                yield max([path.stat().st_mtime, *journals.get(path.stem, [])]), path


def newest(folder: Path) -> Path:
    """The session that was written last. Raises `UserError` if there is none."""
    if not (found := [*_files(folder)]):
        raise UserError(
            _("there is no saved session in {folder}; {save} saves one"), folder=folder, save=Action("session.save")
        )
    return max(found)[1]


def saved_sessions(folder: Path) -> list[SavedSession]:
    """The newest sessions, newest first; one that cannot be opened says why."""
    return [_entry(path, when) for when, path in sorted(_files(folder), reverse=True)[:LISTED]]


def _entry(path: Path, when: float) -> SavedSession:
    try:
        saved = reader.read_record(path)
    except UserError as error:
        return SavedSession(path, when, problem=str(error))
    model = saved.model
    return SavedSession(
        path, when, saved.prompt, f"{model.name} {model.device} {model.dtype}", len(saved.path()), saved.branches
    )
