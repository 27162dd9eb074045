"""What a viewer follows: a shared walk, or a session file that another program writes. A thread of its own reads it."""

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from core.errors import UserError
from core.generation.token import Token
from core.language import _
from core.loading.choice import ModelChoice
from core.sequences import common_prefix
from core.sessions.journal import SUFFIX
from core.sessions.reader import read_record
from core.walk.values import Snapshot
from tui.runner import Frame
from tui.sharing import address as addresses
from tui.sharing.address import LOOPBACK, Address
from tui.sharing.server import GREETING
from tui.sharing.values import LARGEST
from tui.sharing.wire import NO_WALK, Reader, Received

State = Literal["connecting", "following", "left"]
"""`left`: what was seen last stays; the connection is tried again and again."""
AGAIN = 1.0
"""Seconds between two tries to connect."""
CONNECT_SECONDS = 5.0
POLL = 0.15
"""Seconds between two looks at a file."""
READING_SHARE = 0.1
"""Of the time at most that reading a file may take; a long walk is read less often."""


class Feed:
    """Calls `arrived` with each state, and `changed` when the connection comes or goes; both on its own thread."""

    def __init__(self) -> None:
        self.state: State = "connecting"
        self.problem: UserError | None = None
        """Why there is no connection, where that is known."""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self, arrived: Callable[[Received], None], changed: Callable[[], None]) -> None:
        """Begin to follow."""
        self._arrived, self._changed = arrived, changed
        self._thread.start()

    def close(self) -> None:
        """Follow no longer."""
        self._closing.set()

    def _become(self, state: State, problem: UserError | None = None) -> None:
        if (state, str(problem)) != (self.state, str(self.problem)):
            self.state, self.problem = state, problem
            self._changed()

    def _run(self) -> None:
        raise NotImplementedError


class SharedFeed(Feed):
    """A shared walk at an address; without one, the walk that was shared last on this machine."""

    def __init__(self, address: Address | None) -> None:
        super().__init__()
        self._address = address

    def _run(self) -> None:
        while not self._closing.is_set():
            problem: UserError | None = None
            try:
                if (address := self._address or addresses.newest()) is not None:
                    self._follow(address)
            except UserError as error:
                problem = error
            except OSError:
                pass
            self._become("connecting" if self.state == "connecting" else "left", problem)
            self._closing.wait(AGAIN)

    def _follow(self, address: Address) -> None:
        """Take what comes, until the other side ends. Raises `OSError`, and `UserError` for what is no shared walk."""
        reader = Reader()
        with socket.create_connection((LOOPBACK[0], address.port), CONNECT_SECONDS) as connection:
            connection.sendall(GREETING + address.token.encode("ascii", "replace") + b"\n")
            connection.settimeout(None)
            stream = connection.makefile("rb")
            while size := int.from_bytes(stream.read(4), "big"):
                if size > LARGEST:
                    raise UserError(_(NO_WALK), reason=f"{size:,} bytes")
                if len(message := stream.read(size)) < size or self._closing.is_set():
                    return
                received = reader.read(message)
                self._become("following")
                self._arrived(received)


class FileFeed(Feed):
    """A session file and its journal, which are read again when they change."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._tokens: tuple[Token, ...] = ()

    def _run(self) -> None:
        before: object = None
        while not self._closing.is_set():
            began = time.monotonic()
            if (stamp := self._stamp()) != before:
                before = stamp
                try:
                    received = self._read()
                except UserError as error:
                    self._become("left", error)
                else:
                    self._become("following")
                    self._arrived(received)
            self._closing.wait(max(POLL, (time.monotonic() - began) / READING_SHARE))

    def _stamp(self) -> object:
        """Differs after each change."""
        found = []
        for path in (self._path, *self._path.parent.glob(f"*{SUFFIX}")):
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((path, status.st_mtime_ns, status.st_size))
        return found

    def _read(self) -> Received:
        record = read_record(self._path)
        before, self._tokens = self._tokens, record.path()
        prompt = [token.origin == "prompt" for token in self._tokens]
        length = prompt.index(False) if False in prompt else len(prompt)
        snapshot = Snapshot(
            tokens=self._tokens,
            prompt_length=length,
            cursor=record.cursor,
            window=max(0, record.cursor - record.model.context),
            sampler=record.sampler,
            can_take_back=False,
            can_redo=False,
            chart=None,
            prompt=record.prompt,
            patches=record.patches,
        )
        choice = record.model.choice or ModelChoice(name=record.model.name)
        frame = Frame(choice=choice, model=record.model, snapshot=snapshot)
        return Received(frame, None, common_prefix(before, self._tokens))
