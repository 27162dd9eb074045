"""A forked process is as a new one: what it was given, what it can see, and how it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import forked_python
import pytest
from forked_python import ForkedPython

STATE = """
import atexit, gc, os, signal, sys, threading
atexit.register(print, "the end")
streams = [(s.encoding, s.errors, s.line_buffering, s.write_through, s.isatty(), s.seekable(), s.fileno(), s.name)
           for s in (sys.stdin, sys.stdout, sys.stderr)]
print(sys.argv, sys.path, __name__, os.getcwd(), sorted(os.environ.items()), streams, sep="\\n")
print(sorted(os.listdir("/proc/self/fd")), os.getsid(0) == os.getpid(), os.getppid(), threading.active_count())
print({each: signal.getsignal(each) for each in signal.valid_signals()})
print(sys.stdin.read(), file=sys.stderr)
sys.exit(7)
"""
NEW, FORKED = subprocess.Popen, ForkedPython

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process is forked")


def of_both(command: list[str], text: bytes = b"", **how: object) -> list[tuple[int, bytes, bytes]]:
    """Exit code, output and errors of a new and of a forked process."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    made = [kind(command, **pipes | how) for kind in (NEW, FORKED)]  # type: ignore[operator]
    return [(each.wait(), out, err) for each in made for out, err in [each.communicate(text, timeout=60)]]


@pytest.mark.parametrize("session", [False, True])
def test_it_has_what_it_was_given_and_ends_with_its_code(tmp_path: Path, session: bool) -> None:
    environment = {**os.environ, "OAT": "milk"}
    command = [sys.executable, "-c", STATE, "a b", "", "--字"]
    new, forked = of_both(command, "字".encode(), cwd=tmp_path, env=environment, start_new_session=session)
    assert forked == new
    assert new[0] == 7
    assert b"'OAT', 'milk'" in new[1]
    assert new[1].endswith(b"the end\n")


def test_a_module_runs_as_the_program(tmp_path: Path) -> None:
    (tmp_path / "oat.py").write_text("import sys; print(__name__, sys.argv, sys.path[0]); raise ValueError('milk')")
    new, forked = of_both([sys.executable, "-m", "oat", "1"], cwd=tmp_path)
    assert (forked[:2], forked[2].splitlines()[-1]) == (new[:2], b"ValueError: milk")


def test_a_signal_is_how_it_ended() -> None:
    command = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    assert of_both(command) == [(-signal.SIGKILL, b"", b"")] * 2


def test_what_an_interpreter_reads_as_it_starts_makes_a_new_one() -> None:
    command = [sys.executable, "-c", "import sys; print(sys.stdout.encoding, 'torch' in sys.modules)"]
    assert forked_python.run(command, env={**os.environ, "PYTHONIOENCODING": "ascii"}).stdout == b"ascii False\n"
    assert forked_python.run(command).stdout.split()[1:] == [b"True"]
