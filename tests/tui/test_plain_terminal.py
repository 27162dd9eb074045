"""`--plain` in a pseudo-terminal and through pipes: keys, lines, signals, and the terminal afterwards."""

import os
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import forked_python
from forked_python import ForkedPython
from terminals import PATIENCE, Terminal

from core.sessions.reader import read_record

ENDLESS = ("--plain", "oat milk", "--tokenizer", "bytes", "-n", "100000000")
Start = Callable[..., Terminal]
Here = Callable[..., subprocess.CompletedProcess[bytes]]


def unchanged(app: Terminal) -> bool:
    """Whether the terminal has its settings again, and was sent no escape sequence."""
    return termios.tcgetattr(app.slave) == app.before and b"\x1b" not in app.written


def test_keys_act_at_once_and_lines_are_edited(terminal: Start) -> None:
    app = terminal(*ENDLESS)
    app.until(b"entropy")
    app.press(b" ")
    app.until(b"\n8  ")
    app.press(b"\x1b[B\r")  # down, enter
    app.until(b"\n9  ")
    app.press(b"u")
    app.until(b"1 token taken back")
    app.process.send_signal(signal.SIGSTOP)
    os.waitpid(app.process.pid, os.WUNTRACED)
    termios.tcsetattr(app.slave, termios.TCSANOW, app.before)  # as a shell does
    app.process.send_signal(signal.SIGCONT)
    app.press(b"\x1b[D")
    app.until(b"position 8 of 9, after k")
    app.press(b"\x1bOP")  # F1
    app.until(b"prompt, 8 tokens:")
    app.press(b"i")
    app.until(b"an empty line keeps what is there:\r\n")
    app.press(b"mi\\\rlkk\x7f\r")
    app.until(b"prompt of 5 tokens")
    app.press(b"\x1b[200~q q\x1b[201~g")  # pasted text is no key
    app.until(b"\n12  ")
    app.press(b"\x03")  # stops the run
    app.press(b"\x1bOS")  # F4
    app.until(b"tokens generated:")
    app.press(b"q")
    assert app.ended() == 0
    assert unchanged(app)


def test_an_answer_may_be_typed_before_it_is_asked_for(terminal: Start) -> None:
    app = terminal("--plain", "oat milk", "--tokenizer", "bytes")
    app.until(b"entropy")
    app.press(b"s7\rs\x1b[A8\x7f9\r\x10status\rq")
    app.until(b", seed 7")
    app.until(b", seed 9")
    app.until(b"position 8 of 8")
    assert app.ended() == 0
    assert unchanged(app)


def test_escape_leaves_a_question_at_once(terminal: Start) -> None:
    app = terminal("--plain", "oat milk", "--tokenizer", "bytes")
    app.until(b"entropy")
    app.press(b"s")
    app.until(b"escape leaves:")
    app.press(b"7\x1b")
    app.until(b"7\r\nclosed")
    app.press(b"\x10next")
    app.until(b"a command:\r\nnext")
    app.press(b"\x1b")
    app.until(b"next\r\nclosed")
    app.press(b"s\x04\x04")  # ctrl+d leaves a line, then ends the input
    assert app.ended() == 0
    assert app.written.count(b"closed") == 3
    assert unchanged(app)


def test_ctrl_c_leaves_a_screen_in_words(terminal: Start) -> None:
    app = terminal("--plain", "oat milk", "--tokenizer", "bytes")
    app.until(b"entropy")
    app.press(b"x")
    app.until(b"escape close")
    app.press(b"\x03")
    app.until(b"closed")
    app.press(b"\x03")
    assert app.ended() == 130


def test_a_signal_restores_the_terminal_and_saves_the_walk(terminal: Start, tmp_path: Path) -> None:
    app = terminal(*ENDLESS)
    app.until(b"entropy")
    app.press(b"g")
    app.until(b"\n11  ")
    app.process.send_signal(signal.SIGTERM)
    assert app.ended() == 128 + signal.SIGTERM
    assert unchanged(app)
    (saved,) = tmp_path.rglob("*oat-milk.json")
    assert len(read_record(saved).path()) > len("oat milk")


def test_a_dumb_terminal_takes_lines_and_ctrl_c_ends(terminal: Start) -> None:
    app = terminal(*ENDLESS, TERM="dumb")
    app.until(b"write a key or a command in each line")
    app.press(b"status\r")
    app.until(b"position 8 of 8")
    app.press(b"\x03")
    assert app.ended() == 130
    assert unchanged(app)


def test_the_app_points_to_plain_lines(run_here: Here) -> None:
    done = run_here("oat", "--no-plain")
    assert (done.returncode, done.stdout) == (2, b"")
    assert (
        done.stderr
        == b"tokenwalk: the app needs a terminal; without one use --plain, or tokenwalk generate, next or tokens\n"
    )


def test_a_mistake_ends_as_that_of_another_command(run_here: Here) -> None:
    done = run_here("--plain", "--model", "model9")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)


def test_a_pipe_gives_lines_and_the_setting_is_enough(tmp_path: Path) -> None:
    (tmp_path / "tokenwalk").mkdir()
    (tmp_path / "tokenwalk" / "config.toml").write_text('plain = true\n[keys]\n"walk.step" = "Z"\n')
    done = forked_python.run(
        [sys.executable, "-m", "tui", "oat", "--tokenizer", "bytes"],
        b"Z\n\nnext\ntext",
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
    )
    lines = done.stdout.decode().splitlines()
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\x1b" not in done.stdout
    assert "text, 2 tokens generated:" in lines
    assert any("next token, position 5 of 5" in line for line in lines)


def test_a_closed_pipe_ends_it_without_a_word() -> None:
    command = [sys.executable, "-m", "tui", "--plain", "oat"]
    with ForkedPython(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(b"g\n")
        process.stdin.close()
        process.stdout.readline()
        process.stdout.close()
        error = process.stderr.read()
        assert process.wait(PATIENCE) == 128 + signal.SIGPIPE
    assert error == b""
