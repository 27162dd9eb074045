"""Reads what a person presses or writes: single keys of a terminal, or lines of a dumb terminal or a pipe."""

import os
import sys
from codecs import getincrementaldecoder
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from textual import events
from textual.keys import _character_to_key

from tui.driver import InputParser

LINE_BYTES = 1 << 20
"""Of one line at most."""


class Keyboard(Protocol):
    """Where commands come from."""

    fileno: int
    ended: bool
    """Whether nothing more will come."""
    interrupts: bool
    """Whether a person may want to end what goes on."""

    def __enter__(self) -> "Keyboard": ...
    def begin(self) -> None: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def read(self) -> list[str]:
        """The commands that have come; called when there is input. Each is a key's name, or a line."""

    def tick(self) -> list[str]:
        """Commands that are complete because nothing followed."""

    def line(self, ask: Callable[[], None]) -> str | None:
        """Ask for a line of text and wait for it; None where there is none."""


class SingleKeys:
    """A terminal whose keys act at once; lines are edited by the terminal itself."""

    def __init__(self, fileno: int) -> None:
        import termios  # noqa: PLC0415  # it does not exist on Windows

        self._termios, self.fileno, self.ended, self.interrupts = termios, fileno, False, True
        self._parser, self._decode = InputParser(), getincrementaldecoder("utf-8")("replace").decode
        self._before = termios.tcgetattr(fileno)

    def __enter__(self) -> "SingleKeys":
        self.begin()
        return self

    def begin(self) -> None:
        """Let keys act at once, also after the terminal was changed elsewhere."""
        self._set_single(True)

    def __exit__(self, *_: object) -> None:
        self._set_single(False)

    def _set_single(self, single: bool) -> None:
        """Keys without echo, one by one; or lines, as the terminal was before."""
        mode = [*self._before]
        if single:
            mode[3] &= ~(self._termios.ICANON | self._termios.ECHO)
        self._termios.tcsetattr(self.fileno, self._termios.TCSADRAIN, mode)

    def read(self) -> list[str]:
        """The keys that were pressed; pasted text is none."""
        data = os.read(self.fileno, 4096)
        self.ended = not data or data == b"\x04"
        return [each.key for each in self._parser.feed(self._decode(data)) if isinstance(each, events.Key)]

    def tick(self) -> list[str]:
        """A lone escape."""
        return [each.key for each in self._parser.tick() if isinstance(each, events.Key)]

    def line(self, ask: Callable[[], None]) -> str | None:
        """A line, with the terminal's own editing and echo."""
        self._set_single(False)
        try:
            ask()
            return _first_line(self.fileno)
        finally:
            self._set_single(True)


class Lines:
    """A pipe, or a terminal that only sends whole lines: each line is a command."""

    def __init__(self, fileno: int) -> None:
        self.fileno, self.ended, self._rest = fileno, False, b""
        self.interrupts = os.isatty(fileno)

    def __enter__(self) -> "Lines":
        return self

    def begin(self) -> None:
        """Nothing is changed."""

    def __exit__(self, *_: object) -> None:
        """Nothing was changed."""

    def read(self) -> list[str]:
        """The lines that have come; the last one may have no end."""
        data = os.read(self.fileno, 65536)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if not data or len(self._rest) > LINE_BYTES:
            self.ended = True
            lines += [self._rest] if self._rest else []
        return [line.decode("utf-8", "replace").rstrip("\r") for line in lines]

    def tick(self) -> list[str]:
        """None."""
        return []

    def line(self, ask: Callable[[], None]) -> str | None:
        """None: the caller takes the next command."""
        ask()
        return None


def _first_line(fileno: int) -> str | None:
    content = b""
    while not content.endswith(b"\n") and len(content) < LINE_BYTES:
        if not (fresh := os.read(fileno, 4096)):
            return None if not content else content.decode("utf-8", "replace")
        content += fresh
    return content.decode("utf-8", "replace").rstrip("\r\n")


def key_of_line(line: str) -> str:
    """The key that a line means: an empty line is enter, a single character its key; else the line itself."""
    if not line:
        return "enter"
    return _character_to_key(line) if len(line) == 1 else line.strip()


def keyboard(environment: dict[str, str]) -> Any:
    """The keyboard of standard input."""
    fileno = sys.stdin.fileno()
    if os.isatty(fileno) and environment.get("TERM") != "dumb" and sys.platform != "win32":
        return SingleKeys(fileno)
    return Lines(fileno)
