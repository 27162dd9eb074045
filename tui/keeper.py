"""Owns when the walk is written to a file, and the thread that writes. Nobody waits for a disk here.

The thread that runs the model only copies what there is; the newest copy of a walk takes the place of those that wait.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError
from core.sessions import record, storage, writer
from core.sessions.export import FORMATS
from core.sessions.record import Record

if TYPE_CHECKING:
    from core.walk.session import Session
    from core.walk.tree import Tree

EVERY = 3.0
"""Seconds between two writings of a walk that goes on."""
SHARE = 0.05
"""Of the time at most, that writing may take."""

Told = Callable[[str, bool], None]
"""Told what was written, or what is wrong (True), on the thread that writes."""


@dataclass(slots=True)
class Kept:
    """Where a walk is kept; belongs to the thread that writes."""

    path: Path | None = None
    stamp: tuple[int, int, int] | None = None
    """What the file was like when it was last written or read here."""


class Keeper:
    """Writes walks into `folder`. All but `close` belongs to the thread that runs the model."""

    def __init__(self, folder: Path, tell: Told, *, by_itself: bool = True) -> None:
        self.folder = folder
        self._tell = tell
        self._by_itself = by_itself
        self._tree: Tree | None = None
        self._kept = Kept()
        self._mark: object = None
        self._due = 0.0
        self._took = 0.0
        self._jobs: dict[int, Callable[[], None]] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._live, name="keeper", daemon=True)

    @property
    def path(self) -> Path | None:
        """The file of the present walk."""
        return self._kept.path

    def opened(self, session: "Session", path: Path) -> None:
        """The walk came from a file; it stays in it where that is one of the folder, and unless somebody changes it.

        One that is only shown leaves its file as it is, also when it goes on in another model.
        """
        own = session.worth_keeping() and path.parent.resolve() == self.folder.resolve()
        self._begin(session, Kept(path, _stamp(path)) if own else Kept())
        self._mark = session.mark()

    def look(self, session: "Session", *, last: bool = False) -> float | None:
        """Let the walk be written if that is due, or for the `last` time; seconds until it will be, if it changed."""
        if not self._by_itself:
            return None
        if session.tree is not self._tree:
            self._begin(session, Kept())
        mark, now = session.mark(), time.monotonic()
        if mark == self._mark:
            return None
        if now < self._due and not last:
            return self._due - now
        self._mark = mark
        if session.worth_keeping():
            self._due = now + max(EVERY, self._took / SHARE)
            self._write(session, loud=False)
        return None

    def save(self, session: "Session") -> None:
        """Write the walk now, and say where."""
        if session.tree is not self._tree:
            self._begin(session, Kept())
        self._mark = session.mark()
        self._write(session, loud=True)

    def export(self, session: "Session", name: str, folder: Path) -> None:
        """Write the walk into `folder` in one of `FORMATS`, and say where."""
        walk, (_, suffix, lines) = record.copy(session), FORMATS[name]

        def job() -> None:
            laid_out = walk()
            path = storage.free(folder, laid_out.prompt, suffix)
            try:
                with path.open("x", encoding="utf-8", errors="backslashreplace", newline="") as file:
                    file.writelines(lines(laid_out))
            except OSError as error:
                raise UserError(f"{path} cannot be written: {error.strerror}") from error
            self._tell(f"written to {path}", False)

        self._hand_over(id(job), job)

    def close(self, timeout: float) -> bool:
        """Write what waits and end; whether that was done in time."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _begin(self, session: "Session", kept: Kept) -> None:
        self._tree, self._kept, self._mark, self._due = session.tree, kept, None, 0.0

    def _write(self, session: "Session", *, loud: bool) -> None:
        walk, kept = record.copy(session), self._kept
        self._hand_over(id(kept), lambda: self._put(walk(), kept, loud))

    def _hand_over(self, key: int, job: Callable[[], None]) -> None:
        with self._changed:
            self._jobs[key] = job
            self._changed.notify()
        if self._thread.ident is None:
            self._thread.start()

    # On the thread that writes ---------------------------------------------------------------------------------------

    def _live(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._closing:
                    self._changed.wait()
                if not self._jobs:
                    return
                job = self._jobs.pop(next(iter(self._jobs)))
            try:
                job()
            except UserError as mistake:
                self._tell(str(mistake), True)
            except Exception as error:  # a defect here must not end the keeping of walks
                self._tell(f"the walk was not written: {type(error).__name__}: {error}", True)

    def _put(self, walk: Record, kept: Kept, loud: bool) -> None:
        began = time.monotonic()
        storage.prepare(self.folder)
        if kept.path is None or _stamp(kept.path) != kept.stamp:  # what somebody else wrote there is not overwritten
            kept.path = storage.free(self.folder, walk.prompt)
        writer.write_record(kept.path, walk)
        kept.stamp = _stamp(kept.path)
        self._took = time.monotonic() - began
        if loud:
            self._tell(f"saved as {kept.path}", False)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size
