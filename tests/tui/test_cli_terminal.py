"""The command line and the app in a real terminal: what is imported when, and that the terminal is left as it was."""

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from struct import pack

import pytest

PATIENCE = 30.0
HEAVY = ("torch", "textual", "tiktoken", "plotext")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tui", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def imported_by(*arguments: str) -> set[str]:
    """Which heavy packages a command has imported when it ends."""
    code = (
        "import sys\nfrom tui.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"sys.stderr.write(' '.join(name for name in {HEAVY} if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "arguments", [("--help",), ("generate", "--help"), ("walk", "-h"), ("--version",), ("models",)], ids=" ".join
)
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert imported_by(*arguments) == set()


def test_tokens_need_no_torch_and_no_screen() -> None:
    assert imported_by("tokens", "oat milk") == {"tiktoken"}


def test_generating_needs_no_screen() -> None:
    assert "textual" not in imported_by("generate", "hi", "-n", "1", "--tokenizer", "bytes")


def test_the_version_is_the_installed_one() -> None:
    done = run("--version")
    assert (done.stdout, done.stderr, done.returncode) == (f"tokenwalk {version('tokenwalk')}\n", "", 0)


def test_help_names_every_command_and_option() -> None:
    done = run("--help")
    for command in ("generate", "next", "tokens", "models", "devices"):
        assert command in done.stdout
    options = run("generate", "--help").stdout
    for option in ("--model", "--device", "--dtype", "--weights-seed", "--embed-dim", "--context", "--blocks", "--heads"):
        assert option in options
    for option in ("--activation", "--tokenizer", "--temperature", "--top-k", "--top-p", "--seed", "--samples", "--json"):
        assert option in options


class Terminal:
    """A command in a pseudo-terminal, and what it wrote."""

    def __init__(self, *arguments: str, path: Path, size: tuple[int, int] = (80, 24)) -> None:
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, size[::-1])
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        environment = {
            **{k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "SSH_CONNECTION", "COLORTERM")},
            "TERM": "xterm-256color",
            "XDG_CONFIG_HOME": str(path),
            "PYTHONPATH": os.pathsep.join([str(path), os.getcwd()]),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tui", *arguments],
            stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
        )
        self.written = b""

    def until(self, words: bytes) -> None:
        """Read until these bytes were written."""
        end = time.monotonic() + PATIENCE
        while words not in self.written:
            assert time.monotonic() < end, self.text[-2000:]
            assert self.process.poll() is None or self.more(), self.text[-2000:]
            self.more()

    def more(self) -> bool:
        """Read what is there, waiting a moment for it."""
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
        """The exit code, read to the end."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < end, self.text[-2000:]
            self.more()
        while self.more():
            pass
        return self.process.returncode

    @property
    def text(self) -> str:
        """What was written, without the terminal's own codes."""
        return re.sub(r"\x1b(\[[0-9;:?<>=]*[ -/]*[@-~]|[()][A-Z0-9]|[=>78])", "", self.written.decode("utf-8", "replace"))

    @property
    def after(self) -> list[object]:
        return termios.tcgetattr(self.slave)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        opened.append(Terminal(*arguments, path=tmp_path))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def left_as_it_was(terminal: Terminal) -> bool:
    """Whether the other screen, the cursor, the mouse and the line discipline are back."""
    for on, off in ((b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?25l", b"\x1b[?25h"), (b"\x1b[?1000h", b"\x1b[?1000l")):
        if terminal.written.rfind(on) > terminal.written.rfind(off):
            return False
    return terminal.after == terminal.before


def test_the_app_walks_and_leaves_the_terminal_as_it_was(terminal: Callable[..., Terminal]) -> None:
    app = terminal("oat milk", "--tokenizer", "bytes")
    app.until("others".encode())
    assert b"\x1b[?1049h" in app.written
    app.press(b" ")
    app.until(b"1 generated")
    app.press(b"q")
    assert app.ended() == 0
    assert left_as_it_was(app)


def test_the_app_is_on_the_screen_before_torch_is_imported_and_can_be_quit(
    terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    """A torch that never finishes its import stands in for a slow one."""
    (tmp_path / "torch.py").write_text("import time\nprint('torch is imported')\nwhile True:\n    time.sleep(0.01)\n")
    app = terminal("oat milk")
    app.until("next token".encode())
    app.until("oat milk".encode())
    app.until("loading".encode())
    began = time.perf_counter()
    app.press(b"q")
    assert app.ended() == 0
    assert time.perf_counter() - began < 3
    assert left_as_it_was(app)
    assert "Traceback" not in app.text


def test_the_app_is_quit_in_the_middle_of_a_stream(terminal: Callable[..., Terminal]) -> None:
    app = terminal("oat milk", "--tokenizer", "bytes", "-n", "100000000")
    app.until("others".encode())
    app.press(b"g")
    app.until("▶".encode())
    began = time.perf_counter()
    app.press(b"q")
    assert app.ended() == 0
    assert time.perf_counter() - began < 3
    assert left_as_it_was(app)


def test_a_hostile_prompt_does_nothing_to_the_terminal(terminal: Callable[..., Terminal]) -> None:
    hostile = "\x1b]52;c;aGVsbG8=\x07\x1b[3J\x1b]0;stolen\x07\u202e\x9b5n"
    app = terminal(hostile, "--tokenizer", "bytes")
    app.until("others".encode())
    app.press(b"g")
    app.until("generated".encode())
    app.press(b"q")
    assert app.ended() == 0
    for command in (b"\x1b]52", b"\x1b[3J", b"\x1b]0;stolen", "\u202e".encode(), "\x9b".encode()):
        assert command not in app.written


def test_settings_that_cannot_be_read_are_told_in_the_app(terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    (tmp_path / "tokenwalk").mkdir()
    (tmp_path / "tokenwalk" / "config.toml").write_text("fps = 'fast'\n")
    app = terminal("oat milk", "--tokenizer", "bytes")
    app.until(b"fps must be")
    app.press(b"q")
    assert app.ended() == 0


def test_a_prompt_can_be_written_by_keyboard_alone(terminal: Callable[..., Terminal]) -> None:
    app = terminal("--tokenizer", "bytes")
    app.until("others".encode())
    app.press("oat q字".encode())
    app.until(b"WRITE")
    app.until("字".encode())
    app.press(b"\n ")  # ctrl+j and space at once, as a slow link may deliver them
    app.until(b"1 generated")
    app.press(b"q")
    assert app.ended() == 0
