"""A command in a pseudo-terminal, in a forked process that need not import what a new one does."""

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

from forked_python import ForkedPython

PATIENCE = 60.0
"""Seconds after which a test gives up. It bounds a defect; a start takes long where the machine is busy."""
OWN_TERMINAL = "import fcntl, termios; fcntl.ioctl(1, termios.TIOCSCTTY, 0); from tui.start import main; main()"
"""Make standard output the controlling terminal, then run the command line."""


class Terminal:
    """A command in a pseudo-terminal, and its output.

    `first` are lines of Python that run before it; `new` makes it a new process, which imports all itself. Standard
    error goes to the file `errors` where one is given.
    """

    def __init__(
        self,
        *arguments: str,
        path: Path,
        stdin: bytes | None = None,
        first: str = "",
        new: bool = False,
        errors: Path | None = None,
        **extra: str,
    ) -> None:
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, 80))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        environment = {
            **{k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "SSH_CONNECTION", "COLORTERM")},
            "TERM": "xterm-256color",
            "XDG_CONFIG_HOME": str(path),
            "XDG_DATA_HOME": str(path),
            **extra,
        }
        stderr = os.open(errors, os.O_WRONLY | os.O_CREAT, 0o600) if errors else slave
        self.process = (subprocess.Popen if new else ForkedPython)(
            [sys.executable, "-c", f"{first}\n{OWN_TERMINAL}", *arguments],
            stdin=slave if stdin is None else subprocess.PIPE,
            stdout=slave,
            stderr=stderr,
            env=environment,
            start_new_session=True,
        )
        if errors:
            os.close(stderr)
        if self.process.stdin:
            self.process.stdin.write(stdin)
            self.process.stdin.close()
        self.written = b""

    def until(self, expected: bytes) -> None:
        """Read until the output has these bytes."""
        end = time.monotonic() + PATIENCE
        while expected not in self.written:
            assert time.monotonic() < end, self.text[-2000:]
            assert self.process.poll() is None or self.more(), self.text[-2000:]
            self.more()

    def more(self) -> bool:
        """Read available output; wait 0.05 s for it."""
        if not select.select([self.master], [], [], 0.05)[0]:
            return False
        try:
            fresh = os.read(self.master, 65536)
        except OSError:
            return False
        self.written += fresh
        return bool(fresh)

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def ended(self) -> int:
        """Read all output and return the exit code."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < end, self.text[-2000:]
            self.more()
        while self.more():
            pass
        return self.process.returncode

    @property
    def text(self) -> str:
        """The output without escape sequences."""
        return re.sub(
            r"\x1b(\[[0-9;:?<>=]*[ -/]*[@-~]|[()][A-Z0-9]|[=>78])", "", self.written.decode("utf-8", "replace")
        )

    @property
    def after(self) -> list[object]:
        return termios.tcgetattr(self.slave)

    def vanish(self) -> None:
        """Close both sides, as a terminal does that is killed."""
        for side in (self.slave, self.master):
            os.close(side)
        self.slave = self.master = -1

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for side in (self.master, self.slave):
            if side >= 0:
                os.close(side)


def restored(terminal: Terminal) -> bool:
    """Whether the normal screen, the cursor, the mouse and the line discipline are restored."""
    for on, off in ((b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?25l", b"\x1b[?25h"), (b"\x1b[?1000h", b"\x1b[?1000l")):
        if terminal.written.rfind(on) > terminal.written.rfind(off):
            return False
    return terminal.after == terminal.before
