"""Writes the walk to a session file every few seconds, and what happens in between to a journal beside it.

The thread that runs the model only copies the walk, or what has changed in it; two other threads write. A newer copy of
a walk replaces one that waits to be written.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from core.atomic import NEW_FILE
from core.errors import UserError
from core.language import _
from core.sessions import journal, record, storage, writer
from core.sessions.export import FORMATS
from core.sessions.record import Copy
from core.walk.tree import Node
from tui.journal import Journal, JournalWriter

if TYPE_CHECKING:
    from core.walk.session import Session
    from core.walk.tree import Tree

INTERVAL = 3.0
"""Seconds between two writes of a walk that changes, at least."""
WRITING_SHARE = 0.05
"""Of the time at most that writing may take; a walk whose write is slow is written less often."""

Report = Callable[[UserError | str, bool], None]
"""Called on the writing thread with what was written, or with a problem (True)."""


@dataclass(slots=True)
class SessionFile:
    """The file of one walk; used on the writing thread."""

    path: Path | None = None
    """None until the walk is written for the first time."""
    stamp: tuple[int, int, int] | None = None
    """Inode, modification time and size when the file was last written or read here."""
    journal: Journal = field(default_factory=Journal)
    always: bool = False
    """Whether the walk is written to this path whatever it holds, and whatever stands there."""
    begun: bool = False
    """Whether the walk was copied for the file, so that changes go to the journal from then on."""


class Autosave:
    """Writes walks into `folder`. All methods but `close` are for the thread that runs the model."""

    def __init__(self, folder: Path, report: Report, *, automatic: bool = True) -> None:
        self.folder = folder
        self._report = report
        self._automatic = automatic
        self._tree: Tree | None = None
        self._file = SessionFile()
        self._files: WeakKeyDictionary[Tree, SessionFile] = WeakKeyDictionary()
        """The files of walks that may be come back to."""
        self._mark: object = None
        self._noted: object = None
        """The mark of the walk when its journal got the last entry."""
        self._last_entry = 0
        self._due = 0.0
        self._write_seconds = 0.0
        self._jobs: dict[int, Callable[[], None]] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="autosave", daemon=True)
        self._journals = JournalWriter(report)

    @property
    def path(self) -> Path | None:
        """The file of the present walk; None until it is written for the first time."""
        return self._file.path

    @property
    def kept(self) -> bool:
        """Whether the present walk is written among the saved ones, the newest of which `--resume` continues."""
        return self._automatic and self.path is not None and self.path.parent == self.folder

    def attach(self, session: "Session", path: Path) -> None:
        """The walk was read from a file. It is written there from now on if the file is in `folder`.

        A walk that is only shown leaves its file unchanged, also when it continues in another model.
        """
        own = session.worth_keeping() and path.parent.resolve() == self.folder.resolve()
        self._begin(session, SessionFile(path, _stamp(path)) if own else SessionFile())
        self._mark = session.mark()

    def keep(self, session: "Session", path: Path) -> None:
        """The walk is written to `path` from now on, also where it is only a prompt. What stands there is replaced."""
        self._begin(session, SessionFile(path, always=True))

    def write_if_due(self, session: "Session", *, last: bool = False) -> float | None:
        """Write the walk if it changed and its interval has passed, or if this is the `last` call.

        Returns the seconds until it will be due; None if it has not changed since it was written.
        """
        file = self._files.get(session.tree) or SessionFile()
        if not (self._automatic or file.always):
            return None
        if session.tree is not self._tree:
            self._begin(session, file)
        mark, now = session.mark(), time.monotonic()
        if mark != self._noted and self._file.begun:
            self._note(session)
        if mark == self._mark:
            return None
        if now < self._due and not last:
            return self._due - now
        self._mark = mark
        if file.always or session.worth_keeping():
            self._due = now + max(INTERVAL, self._write_seconds / WRITING_SHARE)
            self._write(session, report=False)
        return None

    def save(self, session: "Session") -> None:
        """Write the walk now, and report its file."""
        if session.tree is not self._tree:
            self._begin(session, self._files.get(session.tree) or SessionFile())
        self._mark = session.mark()
        self._write(session, report=True)

    def save_copy(self, session: "Session", path: Path) -> None:
        """Write the walk to a new file of a person's choice, and report it; what follows goes on to its own file."""
        copy = record.copy(session)

        def job() -> None:
            if path.exists():
                raise UserError(_("there is already a file {path}; give another name"), path=path)
            writer.write_record(path, copy())
            self._report(_("saved as {path}").format(path=path), False)

        self._put(id(job), job)

    def export(self, session: "Session", name: str, folder: Path) -> None:
        """Write the walk into `folder` in one of `FORMATS`, and report the file."""
        copy, (_name, suffix, lines) = record.copy(session), FORMATS[name]

        def job() -> None:
            walk = copy()
            path = storage.free(folder, walk.prompt, suffix)
            try:
                with os.fdopen(
                    os.open(path, NEW_FILE, 0o600), "w", encoding="utf-8", errors="backslashreplace", newline=""
                ) as file:
                    file.writelines(lines(walk))
            except OSError as error:
                raise UserError(
                    _("{path} cannot be written: {reason}; export from another folder"),
                    path=path,
                    reason=error.strerror,
                ) from error
            self._report(_("written to {path}").format(path=path), False)

        self._put(id(job), job)

    def close(self, timeout: float) -> bool:
        """Write what waits and end the thread; whether it has ended within `timeout` seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        journaled = self._journals.close(timeout)
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return journaled and not self._thread.is_alive()

    def _begin(self, session: "Session", file: SessionFile) -> None:
        self._tree, self._file, self._mark, self._noted, self._due = session.tree, file, None, None, 0.0
        self._last_entry = 0
        self._files[session.tree] = file

    def _note(self, session: "Session") -> None:
        """Let the journal have what has changed."""
        self._noted = session.mark()
        entry = journal.entry(session, session.tree.take_changes())
        self._last_entry = self._journals.put(self._file.journal, entry)

    def _write(self, session: "Session", *, report: bool) -> None:
        if self._automatic:
            self._note(session)
            self._file.begun = True
        copy, file, after = record.copy(session), self._file, self._last_entry
        self._put(id(file), lambda: self._write_file(copy, file, after, report))

    def _put(self, key: int, job: Callable[[], None]) -> None:
        with self._changed:
            self._jobs[key] = job
            self._changed.notify()
        if self._thread.ident is None:
            self._thread.start()

    # On the writing thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._closing:
                    self._changed.wait()
                if not self._jobs:
                    return
                job = self._jobs.pop(next(iter(self._jobs)))
            try:
                job()
            except UserError as error:
                self._report(error, True)
            except Exception as error:  # a defect in one write must not end the thread
                self._report(
                    _("the walk was not written: {name}: {error}").format(name=type(error).__name__, error=error), True
                )

    def _write_file(self, copy: Copy, file: SessionFile, after: int, report: bool) -> None:
        """Write a copy that was made after an entry of the journal."""
        began, numbers = time.monotonic(), dict[Node, int]()
        walk = copy(numbers)
        file.journal.keep(after)
        storage.prepare(file.path.parent if file.always and file.path else self.folder)
        changed = not file.always and _stamp(file.path) != file.stamp if file.path else False
        if file.path is None or changed:  # another program's version is not overwritten
            file.path = storage.reserve(self.folder, walk.prompt)
        path = file.path

        def complete(digest: str) -> None:
            with suppress(OSError):  # the journal reports it
                file.journal.begin(path, digest, numbers)

        try:
            writer.write_record(path, walk, complete)
        except BaseException:
            file.journal.stay()
            raise
        finally:
            storage.released(path)
        file.journal.settle(path)
        file.stamp = _stamp(path)
        self._write_seconds = time.monotonic() - began
        if report:
            self._report(_("saved as {path}").format(path=file.path), False)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
