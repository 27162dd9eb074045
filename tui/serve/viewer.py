"""One viewer: a process that runs the app, and the packets between it and a browser."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from tui.serve import DRIVER

READY = b"__GANGLION__\n"
"""The line after which packets follow; the driver of Textual writes it."""
CLOSING_SECONDS = 5.0
"""How long a process may take to end a step and save its walk, before it is killed."""
LARGEST = 16 << 20
"""Bytes of a packet at most."""


def program(arguments: Sequence[str], command: str = "walk") -> tuple[str, ...]:
    """The program that runs a command with these arguments; no shell, and no module of the working folder."""
    return (sys.executable, "-P", "-c", "from tui.start import main; main()", command, *arguments)


def environment(width: int, height: int) -> dict[str, str]:
    """The variables of a process whose terminal is a browser with so many columns and lines."""
    return {
        **os.environ,
        "TEXTUAL_DRIVER": DRIVER,
        "TEXTUAL_COLOR_SYSTEM": "truecolor",
        "TERM": "xterm-256color",
        "COLUMNS": str(width),
        "ROWS": str(height),
    }


class Viewer:
    """A process, in a session of its own, so that no signal of a terminal reaches it but through the server."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._errors = asyncio.create_task(self._read_errors())

    @classmethod
    async def start(cls, command: Sequence[str], variables: Mapping[str, str]) -> "Viewer":
        """Start the process. Raises `OSError` where there is no room for one."""
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=variables, start_new_session=True
        )
        return cls(process)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    async def output(self) -> AsyncIterator[bytes]:
        """What the terminal is to show, until the app ends; where it cannot start, its message."""
        assert self._process.stdout is not None
        read = self._process.stdout.readexactly
        try:
            while await self._process.stdout.readline() != READY:
                if self._process.stdout.at_eof():
                    break
            while True:
                head = await read(5)
                size = int.from_bytes(head[1:], "big")
                if size > LARGEST:
                    return
                content = await read(size)
                if head[:1] == b"D":
                    yield content
                elif head[:1] == b"M" and json.loads(content).get("type") == "exit":
                    return
        except (asyncio.IncompleteReadError, ValueError):  # the process has ended, or has broken off
            yield (await self._errors).replace(b"\n", b"\r\n")

    async def type(self, keys: str) -> None:
        """Send what was typed."""
        await self._send(b"D", keys.encode("utf-8", "replace"))

    async def tell(self, kind: str, **values: Any) -> None:
        """Send a change of the terminal: `resize` with `width` and `height`, or `quit`."""
        await self._send(b"M", json.dumps({"type": kind, **values}).encode())

    async def _send(self, kind: bytes, content: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(OSError, RuntimeError):  # it has ended
            self._process.stdin.write(kind + len(content).to_bytes(4, "big") + content)
            await self._process.stdin.drain()

    async def stop(self) -> None:
        """Let the process save its walk and end; kill it if it does not. Nothing may read its `output` any more."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_SECONDS):
                await self.tell("quit")
                self._process.stdin.close()
                while await self._process.stdout.read(LARGEST):  # a full pipe would hold it up
                    pass
                await self._process.wait()
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        self._errors.cancel()

    async def _read_errors(self) -> bytes:
        """The end of what the process says on standard error."""
        assert self._process.stderr is not None
        said = b""
        while fresh := await self._process.stderr.read(4096):
            said = (said + fresh)[-4096:]
        return said
