"""What viewers cost the teacher, in one run: `python tests/benchmarks/follow.py [VIEWERS=30] [KEYS=40]`.

The teacher and every viewer are real processes in pseudo-terminals of 100×30. A key that turns the temperature makes a
new chart for all. Measured: from the key to the new value on the teacher's screen, without viewers, with them, and
again without; while the walk rests and while tokens stream; from the key to the value on each viewer's screen; and what
share of a processor the teacher and a viewer take. On a busy machine only such shares tell something.
"""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import Any

SEEN = re.compile(rb"T (\d\.\d\d)")
PROGRAM = "from tui.start import main; main()"
PAUSE = 0.5
"""Seconds between two keys."""


class Screen:
    """A command in a pseudo-terminal."""

    def __init__(self, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (30, 100))
        command = [sys.executable, "-P", "-c", PROGRAM, *arguments]
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        fcntl.fcntl(self.master, fcntl.F_SETFL, os.O_NONBLOCK)
        self.value = b""
        """The temperature that was shown last."""
        self._rest = b""

    def read(self) -> bool:
        """Take the output that is there; whether it shows another temperature."""
        try:
            content = self._rest + os.read(self.master, 1 << 16)
        except (BlockingIOError, OSError):
            return False
        self._rest = content[-8:]
        found, before = SEEN.findall(content), self.value
        if found:
            self.value = found[-1]
        return self.value != before

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.process.kill()
        os.close(self.master)


def watch(count: int, address: str) -> None:
    """In a process of its own: run viewers until standard input ends; print when each showed another temperature."""
    viewers = [Screen("follow", address) for _ in range(count)]
    shown: list[list[tuple[float, str]]] = [[] for _ in viewers]
    places = {viewer.master: number for number, viewer in enumerate(viewers)}
    ready, began, used = False, 0.0, list[float]()
    while True:
        found, _, _ = select.select([0, *places], [], [], 1)
        if 0 in found:
            break
        for file in found:
            number = places[file]
            if viewers[number].read():
                shown[number].append((time.monotonic(), viewers[number].value.decode()))
        if not ready and all(shown):
            ready = True
            began, used = time.monotonic(), [cpu_seconds(viewer.process.pid) for viewer in viewers]
            print("ready", flush=True)
    memory = [_memory(viewer.process.pid) for viewer in viewers]
    seconds = [cpu_seconds(viewer.process.pid) - before for viewer, before in zip(viewers, used, strict=True)]
    load = statistics.mean(seconds) / (time.monotonic() - began)
    for viewer in viewers:
        viewer.process.kill()
    print(json.dumps({"shown": shown, "memory": memory, "load": load}), flush=True)


def _memory(pid: int) -> float:
    """The private memory of a process in MB; NaN where the system does not tell."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1000
    return float("nan")


def cpu_seconds(pid: int) -> float:
    """Seconds of a processor that a process has taken; NaN where the system does not tell."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return float("nan")


class Viewers:
    """The viewers, in a process that watches them."""

    def __init__(self, count: int, address: str) -> None:
        command = [sys.executable, __file__, "--watch", str(count), address]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait(self, teacher: Screen) -> None:
        """Until each has shown the walk."""
        assert self._process.stdout
        while not select.select([self._process.stdout, teacher.master], [], [], 60)[0] or teacher.read() is None:
            pass
        while not select.select([self._process.stdout], [], [], 0.05)[0]:
            teacher.read()
        assert self._process.stdout.readline().strip() == "ready"

    def end(self) -> dict[str, Any]:
        out, _ = self._process.communicate("\n")
        return json.loads(out.splitlines()[-1])


def keys(teacher: Screen, count: int) -> list[tuple[float, float, str]]:
    """When each key was pressed, how long its answer took, and what it showed."""
    answers = []
    for number in range(count):
        end = time.monotonic() + PAUSE + 0.003 * (number % 20)
        while (left := end - time.monotonic()) > 0:
            if select.select([teacher.master], [], [], left)[0]:
                teacher.read()
        pressed = time.monotonic()
        os.write(teacher.master, b"]" if number % 10 < 5 else b"[")
        while time.monotonic() < pressed + 5:
            if select.select([teacher.master], [], [], 1)[0] and teacher.read():
                answers.append((pressed, time.monotonic() - pressed, teacher.value.decode()))
                break
    return answers


def figures(waits: list[float]) -> str:
    middle, late = statistics.median(waits), sorted(waits)[int(0.95 * (len(waits) - 1))]
    return f"median {middle:4.0f} ms, p95 {late:4.0f} ms ({len(waits)})"


def waited(answers: list[tuple[float, float, str]]) -> str:
    return figures([1e3 * wait for _, wait, _ in answers])


def delays(pressed: list[tuple[float, float, str]], shown: list[list[tuple[float, str]]]) -> list[float]:
    """From each key to the first time that a viewer showed its value, in ms."""
    found = []
    for moment, _, value in pressed:
        for each in shown:
            later = [when for when, seen in each if moment < when < moment + PAUSE and seen == value]
            found += [1e3 * (later[0] - moment)] if later else []
    return found


def main(viewers: int, count: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home, "TERM": "xterm-256color"}
        teacher = Screen("I prefer oat milk in", "--share", "-n", "1000000")
        while not (addresses := list(Path(home).glob("tokenwalk/shared/*.json"))):
            time.sleep(0.05)
        address = json.loads(addresses[0].read_text())
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {viewers} viewers")
        keys(teacher, 12)
        for name, before in (("at rest", b""), ("while tokens stream", b"g")):
            os.write(teacher.master, before)
            print(f"{name}: without viewers  {waited(keys(teacher, count))}", flush=True)
            many = Viewers(viewers, address)
            many.wait(teacher)
            keys(teacher, 4)
            began, used = time.monotonic(), cpu_seconds(teacher.process.pid)
            answers = keys(teacher, count)
            share = (cpu_seconds(teacher.process.pid) - used) / (time.monotonic() - began)
            result = many.end()
            print(f"{name}: with viewers     {waited(answers)}")
            late = delays(answers, result["shown"])
            if late:
                part, memory = len(late) / (viewers * len(answers)), statistics.median(result["memory"])
                print(f"    on the screens of viewers: {figures(late)}, {part:.0%} of all within {PAUSE} s")
                print(f"    private memory of a viewer: {memory:.0f} MB")
            print(f"    of a processor: the teacher {share:.0%}, a viewer {result['load']:.1%}")
            print(f"{name}: without, again   {waited(keys(teacher, count))}", flush=True)
        teacher.end()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--watch"]:
        watch(int(sys.argv[2]), sys.argv[3])
    else:
        main(int((sys.argv[1:] or ["30"])[0]), int((sys.argv[2:] or ["40"])[0]))
