"""What a person presses or writes: single keys of a terminal, or lines of a dumb terminal or a pipe."""

import os
import sys
from codecs import getincrementaldecoder
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from textual import events
from textual.keys import _character_to_key
from textual.message import Message

from tui.driver import InputParser

LINE_BYTES = 1 << 20
"""Of one line at most."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a terminal, by Textual's name."""

    name: str
    character: str = ""
    """What it writes; empty for a key that writes nothing."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that was written; None where it was left without one."""

    text: str | None


class Keyboard(Protocol):
    """Makes keys and lines of the bytes that are read from `fileno`."""

    fileno: int
    ended: bool
    """Whether nothing more will come."""
    at_once: bool
    """Whether a person sits there, who may want to end what goes on."""

    def begin(self) -> None:
        """Set the terminal, also after it was changed elsewhere."""

    def end(self) -> None:
        """Set the terminal as it was before."""

    def echo(self, text: str) -> None:
        """Show what is typed, where the terminal does not do so itself."""

    def feed(self, data: bytes) -> Iterable[Key | Line]:
        """What has come; no bytes are the end of the input."""

    def tick(self) -> Iterable[Key | Line]:
        """What is complete because nothing followed."""


class SingleKeys:
    """A terminal whose keys act at once."""

    def __init__(self, fileno: int) -> None:
        import termios  # noqa: PLC0415  # it does not exist on Windows

        self._termios, self.fileno, self.ended, self.at_once = termios, fileno, False, True
        self._parser, self._decode = InputParser(), getincrementaldecoder("utf-8")("replace").decode
        self._before = termios.tcgetattr(fileno)
        self._terminal = os.open(os.ttyname(fileno), os.O_WRONLY | os.O_NOCTTY)
        """Standard output may be a file."""

    def begin(self) -> None:
        mode = [*self._before]
        mode[0] &= ~self._termios.ICRNL  # enter is no ctrl+j
        mode[3] &= ~(self._termios.ICANON | self._termios.ECHO | self._termios.IEXTEN)
        self._termios.tcsetattr(self.fileno, self._termios.TCSADRAIN, mode)

    def end(self) -> None:
        self._termios.tcsetattr(self.fileno, self._termios.TCSADRAIN, self._before)

    def echo(self, text: str) -> None:
        with suppress(OSError):  # a terminal that is gone
            os.write(self._terminal, text.encode("utf-8", "replace"))

    def feed(self, data: bytes) -> Iterable[Key | Line]:
        """Keys; pasted text is none."""
        self.ended = not data
        return _keys(self._parser.feed(self._decode(data)))

    def tick(self) -> Iterable[Key | Line]:
        return _keys(self._parser.tick())


class Lines:
    """A pipe, or a terminal that only sends whole lines: each is a command, or the text that was asked for."""

    def __init__(self, fileno: int) -> None:
        self.fileno, self.ended, self._rest = fileno, False, b""
        self.at_once = os.isatty(fileno)

    def begin(self) -> None:
        """Nothing is changed."""

    def end(self) -> None:
        """Nothing was changed."""

    def echo(self, text: str) -> None:
        """The terminal echoes its lines itself, and a pipe has nobody who types."""

    def feed(self, data: bytes) -> Iterable[Key | Line]:
        """The lines that have come; the last one may have no end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if not data or len(self._rest) > LINE_BYTES:
            self.ended = True
            lines += [self._rest] if self._rest else []
        return [Line(line.decode("utf-8", "replace").rstrip("\r")) for line in lines]

    def tick(self) -> Iterable[Key | Line]:
        return ()


def _keys(found: Iterable[Message]) -> list[Key | Line]:
    return [
        Key(each.key, each.character if each.is_printable and each.character else "")
        for each in found
        if isinstance(each, events.Key)
    ]


def key_of_line(line: str) -> str:
    """The key that a line means: an empty line is enter, a single character its key; else the line itself."""
    if not line:
        return "enter"
    return _character_to_key(line) if len(line) == 1 else line.strip()


def keyboard(environment: dict[str, str]) -> Keyboard:
    """The keyboard of standard input."""
    fileno = sys.stdin.fileno()
    if os.isatty(fileno) and environment.get("TERM") != "dumb" and sys.platform != "win32":
        return SingleKeys(fileno)
    return Lines(fileno)
