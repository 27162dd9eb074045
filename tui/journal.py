"""Writes what happens in a walk to the journal of its session file, a fraction of a second later.

A journal is for the end of the process, which loses nothing that the system has taken: it is never forced to the disk.
After a loss of power the session file itself is there, which is.
"""

import glob
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from core.atomic import NEW_FILE
from core.errors import UserError
from core.language import _
from core.sessions.journal import SUFFIX, Entry, JournalLines, journal_path
from core.walk.tree import Node

INTERVAL = 0.25
"""Seconds from a change to the file, at most."""


class JournalFile:
    """One file, which belongs to one state of the session file; made with the first entry."""

    def __init__(self, path: Path, lines: JournalLines, after: int) -> None:
        self.path = path
        self._lines = lines
        self._after = after
        """The number of the last entry that is written here, or is in the session file."""
        self._file: int | None = None

    def write(self, entries: deque[tuple[int, Entry]]) -> None:
        """Append the entries that are missing. Raises `OSError`."""
        missing = [entry for number, entry in entries if number > self._after]
        if not missing:
            return
        content = b"".join(map(self._lines.line, missing))
        if self._file is None:
            self.path.unlink(missing_ok=True)
            self._file = os.open(self.path, NEW_FILE, 0o600)
            content = self._lines.first() + content
        while content:
            content = content[os.write(self._file, content) :]
        self._after = entries[-1][0]

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)


class Journal:
    """The journal of one session file. While that file is written anew there are two, one for each of its states."""

    def __init__(self) -> None:
        self._entries: deque[tuple[int, Entry]] = deque()
        self._last = self._kept_after = 0
        self._present: JournalFile | None = None
        self._next: JournalFile | None = None
        self._lock = threading.Lock()

    def put(self, entry: Entry) -> int:
        """Add an entry, and return its number. For the thread that runs the model; the others are for any thread."""
        self._last += 1
        self._entries.append((self._last, entry))
        return self._last

    def write(self) -> None:
        """Append what is new. Raises `OSError`; then nothing is written until the session file is."""
        with self._lock:
            entries = self._entries.copy()
            try:
                for file in filter(None, (self._present, self._next)):
                    file.write(entries)
            except BaseException:
                self._present = self._next = None
                raise
            while self._entries and self._entries[0][0] <= self._kept_after:
                self._entries.popleft()

    def keep(self, after: int) -> None:
        """The session file will be written as it was after an entry: those that follow are needed for its journal."""
        with self._lock:
            self._kept_after = after

    def begin(self, session: Path, digest: str, numbers: dict[Node, int]) -> None:
        """The session file is about to have other content, for which a second journal begins. Raises as `write`."""
        self.write()
        with self._lock:
            self._next = JournalFile(journal_path(session, digest), JournalLines(digest, numbers), self._kept_after)
        self.write()

    def settle(self, session: Path) -> None:
        """The session file has its other content: the journal of the one before is of no more use."""
        with self._lock:
            self._present, self._next = self._next, None
            for path in session.parent.glob(f"{glob.escape(session.stem)}.*{SUFFIX}"):
                if self._present is None or path != self._present.path:
                    with suppress(OSError):
                        path.unlink()

    def stay(self) -> None:
        """The session file could not be written."""
        with self._lock:
            if self._next is not None:
                with suppress(OSError):
                    self._next.path.unlink()
            self._next = None


class JournalWriter:
    """The thread that writes journals. `report` is called there with a problem."""

    def __init__(self, report: Callable[[UserError | str, bool], None]) -> None:
        self._report = report
        self._waiting: set[Journal] = set()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def put(self, journal: Journal, entry: Entry) -> int:
        """Let an entry be written soon, and return its number. For the thread that runs the model."""
        number = journal.put(entry)
        if journal not in self._waiting:
            with self._changed:
                self._waiting.add(journal)
                self._changed.notify()
            if self._thread.ident is None:
                self._thread.start()
        return number

    def close(self, timeout: float) -> bool:
        """Write what waits and end the thread; whether it has ended within `timeout` seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                self._changed.wait_for(lambda: self._closing, INTERVAL)
                if self._closing and not self._waiting:
                    return
                waiting, self._waiting = self._waiting, set()
            for journal in waiting:
                try:
                    journal.write()
                except Exception as error:  # the session file is written all the same
                    problem = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
                    words = _("the journal cannot be written: {problem}; the session is still saved every few seconds")
                    self._report(words.format(problem=problem), True)
