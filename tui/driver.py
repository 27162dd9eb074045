"""The terminal driver: what is no UTF-8, pasted text, and terminals that show ASCII only."""

import asyncio
import os
import re
import selectors
import signal
import sys
import threading
import time
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator
from typing import Any

from rich.cells import cell_len
from textual import constants, events
from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.driver import Driver
from textual.message import Message

from tui import terminal

ESCAPE = "\x1b"
ESCAPE_KEY = re.compile(r"(\x1b\r|\x1b(?=[\x1b -~\x80-\U0010ffff])(?![\[Obf]))")
"""alt+enter, or an escape character that begins no sequence: `b` and `f` make those of terminals for words."""
WAIT = 0.1
"""Seconds between two looks at whether the input has ended."""
GONE = 1.0
"""Seconds in which a terminal that has gone may still take output; a pipe takes it in less."""
GLYPHS = {
    **dict.fromkeys("─━═╌╍┄┈╴╶╸╺▁▔⎯", "-"),
    **dict.fromkeys("│┃║‖╎╏┆┊╷╵╹╻▏▕⎸", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯┏┓┗┛┣┫┳┻╋╔╗╚╝╠╣╦╩╬", "+"),
    **dict.fromkeys("█▇▆▅▉▊▋■▪▓▮●◆⬤", "#"),
    **dict.fromkeys("▄▃▂▀▌▍▐▒▎▖▗▘▝▞▚□▫○◇", "="),
    **dict.fromkeys("░·∙•․⋅", "."),
    **dict.fromkeys("←◀◂⟵‹«", "<"),
    **dict.fromkeys("→▶▸⟶›»", ">"),
    **dict.fromkeys("↑▲▴⇧", "^"),
    **dict.fromkeys("↓▼▾⇩", "v"),
    **dict.fromkeys("–—−", "-"),
    **dict.fromkeys("‘’′", "'"),
    **dict.fromkeys("“”″", '"'),
    **dict.fromkeys("×✕✗", "x"),
    "⏎": "/",
    "…": "~",
    "≈": "~",
    "≤": "<",
    "≥": ">",
    "✓": "+",
    "\u2800": " ",
}
"""What stands for a character, of the same width, where the terminal shows ASCII only."""


def ascii_only(environment: dict[str, str]) -> bool:
    """Whether the locale asks for ASCII: the first of LC_ALL, LC_CTYPE and LANG that is set is `C` or `POSIX`.

    Python itself sets LC_CTYPE to a UTF-8 locale where LANG is `C` (PEP 538), so that value does not count then. Where
    none is set, as in many containers, the terminal is taken to show Unicode.
    """
    coerced = environment.get("LC_CTYPE", "").upper() in ("C.UTF-8", "C.UTF8", "UTF-8")
    names = ("LC_ALL", "LANG") if coerced else ("LC_ALL", "LC_CTYPE", "LANG")
    return next((environment[name] for name in names if environment.get(name)), "") in ("C", "POSIX")


def to_ascii(text: str) -> str:
    """`text` in ASCII, with a character for each cell; what has no counterpart becomes `?`."""
    if text.isascii():
        return text
    return "".join(
        each if each.isascii() else GLYPHS.get(each, ":" if "\u2800" < each <= "\u28ff" else "?" * cell_len(each))
        for each in text
    )


class InputParser(XTermParser):
    """Textual's parser of input, except that pasted text is literal: an escape character in it is no key.

    A paste stands between two markers. A part of the first marker that ends a read is held back for a moment, since
    the rest of it may follow. An escape character before one that continues no sequence is the key escape: both may
    have been typed so fast that they arrive together.
    """

    def __init__(self, debug: bool = False) -> None:
        self._pasted: str | None = None
        """The text since the first marker; None outside of a paste."""
        self._held = ""
        self._held_until = 0.0
        super().__init__(debug)

    def feed(self, data: str) -> Iterator[Message]:
        data, self._held = self._held + data, ""
        while data:
            if self._pasted is None:
                before, marker, data = data.partition(BRACKETED_PASTE_START)
                if marker:
                    self._pasted = ""
                else:
                    before = self._hold(before)
                yield from self._feed_keys(before)
            else:
                pasted, marker, data = (self._pasted + data).partition(BRACKETED_PASTE_END)
                if not marker:
                    self._pasted = pasted
                    return
                self._pasted = None
                yield events.Paste(pasted.replace("\x00", ""))

    def end(self) -> None:
        """The input has ended."""
        for _ in super().feed(""):
            pass

    def tick(self) -> Iterable[Message]:
        if self._held and time.monotonic() >= self._held_until:
            held, self._held = self._held, ""
            yield from [_escape_key(held)] if held == ESCAPE else super().feed(held)
        yield from super().tick()

    def _feed_keys(self, text: str) -> Iterator[Message]:
        """The messages of a text outside of a paste."""
        for part in ESCAPE_KEY.split(text):
            if part in (ESCAPE, "\x1b\r"):
                yield _escape_key(part)
            elif part:
                yield from super().feed(part)

    def _hold(self, text: str) -> str:
        """`text` without an end that may begin the marker, or another sequence."""
        for size in range(len(BRACKETED_PASTE_START) - 1, 0, -1):
            if text.endswith(BRACKETED_PASTE_START[:size]):
                self._held, self._held_until = text[-size:], time.monotonic() + constants.ESCAPE_DELAY
                return text[:-size]
        return text


def _escape_key(sequence: str) -> events.Key:
    return events.Key("escape" if sequence == ESCAPE else "alt+enter", sequence[-1])


def driver_class() -> type[Driver] | None:
    """The driver for this system; None where Textual's own is used."""
    if sys.platform == "win32" or constants.DRIVER:
        return None
    import termios  # noqa: PLC0415  # it does not exist on Windows, nor does this driver

    from textual.drivers.linux_driver import LinuxDriver  # noqa: PLC0415

    class TerminalDriver(LinuxDriver):
        """Textual's driver with the parser above. Bytes that are not UTF-8 become U+FFFD."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._file = terminal.drawn_on() or self._file
            self._ascii = ascii_only(dict(os.environ))
            self._ending = os.pipe()

        def start_application_mode(self) -> None:
            """SIGTERM and SIGHUP end the app as its quit key does: the terminal is restored and the walk is saved."""
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self._app.exit, None, 128 + number)
            super().start_application_mode()  # type: ignore[no-untyped-call]

        def process_message(self, message: Message) -> None:
            if isinstance(message, events.Key | events.Paste) and (
                announce := getattr(self._app, "announce_input", None)
            ):
                announce()
            super().process_message(message)

        def write(self, data: str) -> None:
            if self._writer_thread is None or self._writer_thread.is_alive():  # it dies with the terminal
                super().write(to_ascii(data) if self._ascii else data)

        def run_input_thread(self) -> None:
            parser, decoder = InputParser(self._debug), getincrementaldecoder("utf-8")("replace")
            with selectors.SelectSelector() as selector:
                selector.register(self.fileno, selectors.EVENT_READ)
                selector.register(self._ending[0], selectors.EVENT_READ)
                while not self.exit_event.is_set():
                    ready = any(key.fd == self.fileno for key, _events in selector.select(WAIT))
                    for message in self._messages(ready, parser, decoder):
                        self.process_message(message)
            parser.end()

        def disable_input(self) -> None:
            os.write(self._ending[1], b"\0")  # the thread that reads ends at once
            super().disable_input()
            os.read(self._ending[0], 1)

        def close(self) -> None:
            """All output is written, and the terminal is restored; one that has gone away is not waited for."""
            ending, began = threading.Thread(target=super().close, daemon=True), time.monotonic()
            ending.start()
            while ending.is_alive() and (self._has_terminal() or time.monotonic() < began + GONE):
                ending.join(WAIT)
            if when_restored := getattr(self._app, "when_restored", None):
                when_restored()

        def _has_terminal(self) -> bool:
            try:
                termios.tcgetattr(self.fileno)
            except termios.error:
                return False
            return True

        def _messages(self, ready: bool, parser: InputParser, decoder: Any) -> Iterator[Message]:
            if ready:
                data = os.read(self.fileno, 4096)
                if not data:  # the terminal has gone
                    time.sleep(WAIT)
                yield from parser.feed(decoder.decode(data))
            yield from parser.tick()

    return TerminalDriver
