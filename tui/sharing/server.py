"""Sends what the teacher sees to everybody who follows, on a thread of its own.

A viewer says one line; at another byte it is let go, so that none can change anything. Each gets the newest state when
it has taken the one before: a slow viewer skips states and delays nobody. What a key has changed is sent at once, a
stream of tokens as often as the processors can draw it for all. A message is made once for all who have the same.
"""

import asyncio
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from core import cores
from core.errors import UserError
from core.generation.token import Token
from core.language import _
from tui.runner import Frame
from tui.sharing.address import LOOPBACK, Address, announce, new_token
from tui.sharing.view import View
from tui.sharing.wire import Writer

GREETING = b"tokenwalk follow 1 "
"""What a viewer says first, before the token and a line break."""
LONGEST_GREETING = 200
GREETING_SECONDS = 5.0
STALLED_SECONDS = 30.0
"""After which a viewer that takes nothing is given up."""
LEAST_INTERVAL = 0.05
"""Seconds between two states for one viewer, at least; see `_interval`."""
DRAWN = 0.03
"""Seconds of a processor that a viewer needs to draw a state of a stream, with room for the teacher."""
VIEWERS = 200
"""Connections at most."""
END = (0).to_bytes(4, "big")
"""The size of no message: the walk is not shared any longer."""


class Viewer:
    """One who follows, as the server's thread knows it."""

    def __init__(self) -> None:
        self.fresh = asyncio.Event()
        """There is a newer state than the one that was sent."""
        self.urgent = asyncio.Event()
        """It shows more than further tokens of a stream."""

    def wake(self) -> None:
        """Wait for neither."""
        self.fresh.set()
        self.urgent.set()


class Server:
    """Listens on a free port of this machine. Raises `UserError` where that is not possible."""

    def __init__(self) -> None:
        try:
            self._socket = socket.create_server((LOOPBACK[0], 0), backlog=VIEWERS)
        except OSError as error:
            raise UserError(_("the walk cannot be shared: {reason}"), reason=error.strerror or error) from error
        self.address = Address(self._socket.getsockname()[1], new_token())
        self.followers = 0
        """How many follow at present."""
        self._cores = max(1, cores.usable() - 1)
        """One is left to the teacher."""
        self._scene: tuple[Frame, View | None] | None = None
        self._viewers: set[Viewer] = set()
        self._connections = 0
        self._writer = Writer()
        self._messages: dict[int, tuple[tuple[Token, ...], bytes]] = {}
        """Those for the present state, by the identity of the tokens that a viewer has."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="sharing", daemon=True)

    def start(self) -> None:
        """Accept viewers, and write the address where `tokenwalk follow` finds it. Raises `UserError`."""
        self._announced = announce(self.address)
        self._thread.start()

    def offer(self, frame: Frame, view: View | None) -> None:
        """Send a state to all who follow. Returns at once; for any thread."""
        if frame.snapshot is not None and frame.snapshot.tokens:
            self._call(lambda: self._take((frame, view)))

    def close(self, timeout: float = 0.3) -> None:
        """Tell all who follow that this was the end."""
        with suppress(OSError):
            self._announced.unlink()
        self._call(self._finish)
        self._thread.join(timeout)

    def _call(self, work: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(work)

    # On the thread of the server -------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._end = asyncio.Event()
        with suppress(RuntimeError):
            self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._welcome, sock=self._socket, limit=LONGEST_GREETING)
        await self._end.wait()
        server.close()
        for each in self._viewers:
            each.wake()
        await asyncio.sleep(0.05)

    def _finish(self) -> None:
        self._end.set()

    def _take(self, scene: tuple[Frame, View | None]) -> None:
        urgent = self._scene is None or not _only_streams(self._scene, scene)
        self._scene, self._messages = scene, {}
        for each in self._viewers:
            each.fresh.set()
            if urgent:
                each.urgent.set()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one viewer until it goes."""
        self._connections += 1
        try:
            if self._connections <= VIEWERS and await self._knows_token(reader):
                await self._show(reader, writer)
        except (OSError, ValueError, TimeoutError):
            pass
        finally:
            self._connections -= 1
            writer.transport.abort()

    async def _knows_token(self, reader: asyncio.StreamReader) -> bool:
        async with asyncio.timeout(GREETING_SECONDS):
            line = await reader.readline()
        return secrets.compare_digest(line, GREETING + self.address.token.encode() + b"\n")

    async def _show(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=0)
        viewer, before = Viewer(), tuple[Token, ...]()
        gone = asyncio.ensure_future(reader.read(1))
        gone.add_done_callback(lambda _: viewer.wake())
        self._viewers.add(viewer)
        self.followers += 1
        try:
            while not self._end.is_set() and not gone.done():
                if self._scene is None:
                    await viewer.fresh.wait()
                    viewer.fresh.clear()
                    continue
                viewer.fresh.clear()
                viewer.urgent.clear()
                message, before = self._message(before)
                writer.write(len(message).to_bytes(4, "big") + message)
                async with asyncio.timeout(STALLED_SECONDS):
                    await writer.drain()
                await asyncio.sleep(LEAST_INTERVAL)
                with suppress(TimeoutError):
                    await asyncio.wait_for(viewer.urgent.wait(), self._interval() - LEAST_INTERVAL)
                await viewer.fresh.wait()
            if not self._end.is_set():
                return
            writer.write(END)
            async with asyncio.timeout(STALLED_SECONDS):
                await writer.drain()
        finally:
            gone.cancel()
            self.followers -= 1
            self._viewers.discard(viewer)

    def _interval(self) -> float:
        """Seconds between two states of a stream of them."""
        return max(LEAST_INTERVAL, DRAWN * self.followers / self._cores)

    def _message(self, before: tuple[Token, ...]) -> tuple[bytes, tuple[Token, ...]]:
        """The message of the present state to a viewer who has the tokens `before`, and the tokens it has then."""
        assert self._scene is not None
        (frame, view), snapshot = self._scene, self._scene[0].snapshot
        assert snapshot is not None
        if id(before) not in self._messages:
            self._messages[id(before)] = before, self._writer.message(frame, view, before)
        return self._messages[id(before)][1], snapshot.tokens


def _only_streams(before: tuple[Frame, View | None], now: tuple[Frame, View | None]) -> bool:
    """Whether a state differs from the one before it by tokens that were generated meanwhile, as far as one sees."""
    (old, old_view), (new, new_view) = before, now
    if not (old.snapshot and new.snapshot and old.activity == new.activity == "generating"):
        return False
    same_lens = _chosen(old_view) == _chosen(new_view)
    settings = (old.snapshot.sampler, old.snapshot.patches) == (new.snapshot.sampler, new.snapshot.patches)
    return same_lens and settings and len(new.snapshot.tokens) > len(old.snapshot.tokens)


def _chosen(view: View | None) -> tuple[str, int] | None:
    """The lens and, in the chart, the candidate under the cursor; another lens scrolls by itself in a stream."""
    return (view.name, 0 if view.lines else view.cursor) if view else None
