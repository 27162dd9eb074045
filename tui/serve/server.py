"""The HTTP server: the page, its files, and a websocket for each viewer."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import textual_serve
from aiohttp import WSCloseCode, WSMsgType, web

from core.engine import memory
from core.language import _, spoken
from tui.serve import access
from tui.serve.viewer import Viewer, environment

HERE = Path(__file__).parent
TERMINAL = Path(textual_serve.__file__).parent / "static"
FILES = {
    "page.css": HERE / "page.css",
    "page.js": HERE / "page.js",
    "terminal.css": TERMINAL / "css" / "xterm.css",
    "terminal.js": TERMINAL / "js" / "textual.js",
    "mono.ttf": TERMINAL / "fonts" / "RobotoMono-VariableFont_wght.ttf",
}
"""What the page loads, all from here: xterm.js and a client for Textual, as textual-serve brings them."""
HEARTBEAT = 15.0
"""Seconds between two checks that the browser is still there."""
PATIENCE = 6.0
"""Seconds that a new viewer waits for the end of another one, as after a reload of the page."""
LARGEST = 1 << 20
"""Bytes of a message from the browser at most, such as pasted text."""
COLUMNS, LINES = (20, 500), (5, 300)
"""The sizes of a terminal."""
FONT_SIZES = (8, 60)
MAIN_SCREEN = "\x1b[?1049l\x1b[2J\x1b[H"
"""Leaves the screen of the app and begins an empty one, for a last line."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What viewers may use together."""

    viewers: int = 4
    idle_seconds: float | None = 3600.0
    """How long a viewer lasts without a key; None for any time."""
    memory_bytes: int = 0
    """What a viewer needs; where less is left, none is added."""


class Server:
    """Serves a program to browsers on this machine; each page has a process of its own."""

    def __init__(self, command: Sequence[str], limits: Limits, token: str) -> None:
        self._command, self._limits, self._token = command, limits, token
        self._places = asyncio.Semaphore(limits.viewers)
        self._sockets: set[web.WebSocketResponse] = set()
        self._walks: set[asyncio.Task[None]] = set()
        self.application = web.Application(middlewares=[self._guard])
        self.application.router.add_get("/{token}/", self._page)
        self.application.router.add_get("/{token}/terminal", self._walk)
        self.application.router.add_get("/{token}/{file}", self._file)
        self.application.on_response_prepare.append(_add_policy)
        self.application.on_shutdown.append(self._close)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse a request before anything else looks at it."""
        given, socket = request.match_info.get("token", ""), request.path.endswith("/terminal")
        if problem := access.refusal(request.headers, given, self._token, needs_origin=socket):
            return web.Response(status=403, text=f"tokenwalk: {problem}\n")
        try:
            return await handler(request)
        except web.HTTPException as error:
            return web.Response(status=error.status, text=f"tokenwalk: {error.text}\n")

    async def _page(self, request: web.Request) -> web.Response:
        size = request.query.get("fontsize", "")
        page = Template((HERE / "page.html").read_text("utf-8"))
        texts = {
            "size": _within(int(size) if size.isdecimal() else 16, FONT_SIZES),
            "socket": f"ws://{request.host}/{self._token}/terminal",
            "language": spoken(),
            "opening": _("tokenwalk starts …"),
            "ended": _("The app of this page has ended."),
            "again": _("Begin another"),
        }
        text = page.substitute({name: escape(str(value)) for name, value in texts.items()})
        return web.Response(text=text, content_type="text/html")

    async def _file(self, request: web.Request) -> web.StreamResponse:
        if (path := FILES.get(request.match_info["file"])) is None:
            raise web.HTTPNotFound(text=_("there is nothing here"))
        return web.FileResponse(path, headers={"Cache-Control": "private, max-age=3600"})

    async def _walk(self, request: web.Request) -> web.StreamResponse:
        """Run a viewer until its app ends, the browser goes, or the server ends."""
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT, max_msg_size=LARGEST)
        await socket.prepare(request)
        size = _number(request.query.get("width"), 80, COLUMNS), _number(request.query.get("height"), 24, LINES)
        walk = asyncio.create_task(self._run(socket, size))  # of its own, so that no cancelled request leaves a process
        self._walks.add(walk)
        self._sockets.add(socket)
        try:
            await asyncio.shield(walk)
        finally:
            walk.add_done_callback(self._walks.discard)
            self._sockets.discard(socket)
        return socket

    async def _run(self, socket: web.WebSocketResponse, size: tuple[int, int]) -> None:
        problem = None
        try:
            # after a reload the place of the page before is free only when this page is there
            await asyncio.wait_for(self._places.acquire(), PATIENCE)
        except TimeoutError:
            text = _("every place is taken ({count}); close a page of this server, or allow more with --viewers")
            problem = text.format(count=self._limits.viewers)
        else:
            try:
                problem = self._memory_problem() or await self._run_viewer(socket, size)
            except OSError as error:
                problem = _("no process can be started: {reason}").format(reason=error.strerror)
            finally:
                self._places.release()
        if problem and not socket.closed:
            with suppress(OSError):
                await socket.send_bytes(f"{MAIN_SCREEN}tokenwalk: {problem}\r\n".encode())
        await socket.close()

    async def _run_viewer(self, socket: web.WebSocketResponse, size: tuple[int, int]) -> str | None:
        """Run the app of a page. Returns why it was ended, where neither it nor its page did that."""
        viewer = await Viewer.start(self._command, environment(*size))
        showing = asyncio.create_task(_show(viewer, socket))
        try:
            await self._obey(viewer, socket)
        except TimeoutError:
            minutes = (self._limits.idle_seconds or 0) / 60
            return _("no key was pressed for {minutes:g} minutes; the walk is saved").format(minutes=minutes)
        finally:
            showing.cancel()
            await asyncio.wait([showing])
            await viewer.stop()
        return None

    async def _obey(self, viewer: Viewer, socket: web.WebSocketResponse) -> None:
        """Pass on what the browser sends, until it is gone. Raises `TimeoutError` without a key for too long.

        Messages that the page cannot have sent are ignored.
        """
        clock, idle = asyncio.get_running_loop().time, self._limits.idle_seconds
        async with asyncio.timeout(idle) as limit:
            async for message in socket:
                kind, value = _read(message.data) if message.type == WSMsgType.TEXT else ("", None)
                if kind == "stdin" and isinstance(value, str):
                    await viewer.type(value)
                    limit.reschedule(None if idle is None else clock() + idle)
                elif kind == "resize" and isinstance(value, dict):
                    width, height = value.get("width"), value.get("height")
                    await viewer.tell("resize", width=_number(width, 80, COLUMNS), height=_number(height, 24, LINES))

    def _memory_problem(self) -> str | None:
        left, needed = memory.available(), self._limits.memory_bytes
        if left is None or left >= needed:
            return None
        text = _("there is no memory for another page: {needed:.1f} GB are needed and {left:.1f} GB are left")
        return text.format(needed=needed / 1e9, left=left / 1e9)

    async def _close(self, _: web.Application) -> None:
        """Close every websocket, and wait until the processes have ended."""
        await asyncio.gather(*(socket.close(code=WSCloseCode.GOING_AWAY) for socket in self._sockets))
        await asyncio.gather(*self._walks, return_exceptions=True)


async def _show(viewer: Viewer, socket: web.WebSocketResponse) -> None:
    """Send the browser what the app draws; close the websocket when the app has ended."""
    async for content in viewer.output():
        await socket.send_bytes(content)
    await socket.close()


async def _add_policy(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in access.POLICY.items():
        response.headers.setdefault(name, value)


def _read(text: str) -> tuple[str, Any]:
    """The kind and the value of a message `[kind, value]`; an empty kind where it is none."""
    try:
        match json.loads(text):
            case [str(kind), value]:
                return kind, value
    except (ValueError, RecursionError):
        pass
    return "", None


def _number(value: object, default: int, allowed: tuple[int, int]) -> int:
    """A whole number within its limits, from a number or its digits."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 6:
        value = int(value)
    return _within(value, allowed) if isinstance(value, int) else default


def _within(value: int, allowed: tuple[int, int]) -> int:
    return min(max(value, allowed[0]), allowed[1])
