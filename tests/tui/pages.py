"""A program that speaks to `tokenwalk serve` as the app does, and requests as a browser sends them."""

import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientResponse, ClientSession, ClientWebSocketResponse, WSMsgType
from aiohttp.test_utils import TestServer

from tui.serve.server import Limits, Server

TOKEN = "a-token"
ECHO = """
    import json, os, sys
    read, write = sys.stdin.buffer, lambda kind, data: os.write(1, kind + len(data).to_bytes(4, "big") + data)
    os.write(1, b"__GANGLION__\\n")
    write(b"D", f"{os.getpid()} {os.environ['COLUMNS']}x{os.environ['ROWS']}".encode())
    while head := read.read(5):
        data = read.read(int.from_bytes(head[1:], "big"))
        if b"quit" in data and head[:1] == b"M" or data == b"q":
            break
        write(b"D", head[:1] + data)
    write(b"M", json.dumps({"type": "exit"}).encode())
"""
"""Says its number and size, then what it is sent, until it is told to quit."""


def python(code: str) -> tuple[str, ...]:
    """The command of a small program."""
    return (sys.executable, "-S", "-E", "-c", textwrap.dedent(code))


class Page:
    """The page of a server, and its websocket."""

    def __init__(self, session: ClientSession, server: TestServer) -> None:
        self.session, self.url = session, str(server.make_url(f"/{TOKEN}/"))
        self.origin = str(server.make_url("")).rstrip("/")

    async def get(self, path: str = "", **headers: str) -> tuple[int, str, ClientResponse]:
        """The status and the text of an answer."""
        async with self.session.get(self.url + path, headers=headers) as answer:
            return answer.status, await answer.text(errors="replace"), answer

    def connect(self, query: str = "", **headers: str) -> Any:
        """Open the websocket."""
        return self.session.ws_connect(f"{self.url}terminal{query}", headers={"Origin": self.origin, **headers})


async def said(socket: ClientWebSocketResponse) -> str:
    """The next thing that a program says; empty when the connection has ended."""
    message = await socket.receive(10)
    return message.data.decode() if message.type == WSMsgType.BINARY else ""


@asynccontextmanager
async def serving(limits: Limits = Limits(), command: tuple[str, ...] = python(ECHO)) -> AsyncIterator[Page]:
    """A server on a free port of this machine."""
    async with TestServer(Server(command, limits, TOKEN).application) as server, ClientSession() as session:
        yield Page(session, server)
