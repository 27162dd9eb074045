"""Standard streams that are closed or full, ctrl+c at any time, and what arrives on a terminal that is no text."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from terminals import Terminal, restored

RUN = f"'{sys.executable}' -m tui "


def shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", RUN + command], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", ["--help", "models", "tokens oat --json"])
def test_output_that_cannot_be_written_is_one_line(command: str) -> None:
    done = shell(f"{command} > /dev/full")
    assert done.stderr == "tokenwalk: standard output cannot be written: No space left on device\n"
    assert done.returncode == 2


@pytest.mark.parametrize("command", ["--help", "tokens oat"])
def test_a_closed_output_is_one_line(command: str) -> None:
    done = shell(f"{command} >&-")
    assert (
        done.stderr == "tokenwalk: standard output is closed, so nothing can be printed; open it, such as with > FILE\n"
    )
    assert done.returncode == 2


def test_a_closed_input_is_empty_and_a_closed_error_stream_takes_nothing_from_the_output() -> None:
    whole = shell("tokens oat")
    for redirection in ("<&-", "2>&-", "<&- 2>&-"):
        done = shell(f"tokens oat {redirection}")
        assert (done.stdout, done.stderr, done.returncode) == (whole.stdout, "", 0)


def test_without_an_error_stream_a_mistake_is_still_an_exit_code() -> None:
    assert shell("tokens oat --tokenizer nothing 2>&-").returncode == 2


@pytest.mark.parametrize("seconds", [0.1, 0.25, 0.5, 1.0])
def test_ctrl_c_ends_a_command_silently_however_early(seconds: float) -> None:
    """From the time on that Python itself has started."""
    began, started = os.pipe()
    code = f"import os; os.write({started}, b'.'); from tui.start import main; main()"
    command = [sys.executable, "-c", code, "generate", "oat", "--tokenizer", "bytes", "-n", "100000000", "--json"]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, **streams, text=True, pass_fds=[started])
    os.read(began, 1)
    os.close(began)
    os.close(started)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) in {(130, ""), (-signal.SIGINT, "")}  # by the signal before the first line runs


def test_a_dumb_terminal_is_refused(terminal: Callable[..., Terminal]) -> None:
    app = terminal("oat milk", TERM="dumb")
    assert app.ended() == 2
    assert "\x1b" not in app.written.decode()
    assert "TERM is 'dumb'" in app.text


def test_the_app_is_drawn_where_the_terminal_is(terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    """Also after `2>FILE`, which stays free for messages."""
    log = tmp_path / "log"
    app = terminal("oat milk", "--tokenizer", "bytes", errors=log)
    app.until(b"others")
    app.press(b"q")
    assert app.ended() == 0
    assert restored(app)
    assert log.read_text() == ""


def test_what_is_no_utf8_and_what_is_pasted_is_text(terminal: Callable[..., Terminal]) -> None:
    app = terminal("--tokenizer", "bytes")
    app.until(b"others")
    app.press(b"ab\xe9c")
    app.until("\ufffd".encode())
    app.press(b"\x1b[200~de\x1b\x1bq\x1b[201~")
    app.until(b"de")
    app.written = b""
    app.press(b"\x1b")
    app.until(b"WALK")
    app.press(b"q")
    assert app.ended() == 0
    assert "Traceback" not in app.text


def test_ctrl_z_suspends_and_the_screen_is_drawn_again(terminal: Callable[..., Terminal]) -> None:
    app = terminal("oat milk", "--tokenizer", "bytes")
    app.until(b"others")
    app.press(b"\x1a")
    deadline = time.monotonic() + 10
    while (state := os.waitid(os.P_PID, app.process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)) is None:
        assert time.monotonic() < deadline
        app.more()
    assert state.si_status == signal.SIGSTOP
    while app.more():
        pass
    assert restored(app)
    app.written = b""
    app.process.send_signal(signal.SIGCONT)
    app.until(b"others")
    app.press(b"q")
    assert app.ended() == 0


def test_the_c_locale_gets_ascii(terminal: Callable[..., Terminal]) -> None:
    app = terminal("oat 字 milk", "--tokenizer", "bytes", new=True, LC_ALL="C")
    app.until(b"others")
    app.press(b"q")
    assert app.ended() == 0
    assert app.written.isascii()
    assert "+------" in app.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("while_", [b"\x1b[?1049h", b"loading", b"esc close"], ids=["start", "loading", "dialog"])
def test_a_signal_restores_the_terminal_in_any_state(
    terminal: Callable[..., Terminal], number: signal.Signals, while_: bytes
) -> None:
    app = terminal("oat milk", "--tokenizer", "bytes", new=while_ != b"esc close")  # torch is imported while it loads
    if while_ == b"esc close":
        app.until(b"others")
        app.press(b"m")
    app.until(while_)
    app.process.send_signal(number)
    assert app.ended() == 128 + number
    assert restored(app)
    assert "Traceback" not in app.text
