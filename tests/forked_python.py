"""Python processes that find torch and the app imported: each is forked from one that has imported them once.

`ForkedPython([sys.executable, "-m", "tui", …])` is `subprocess.Popen` for commands with `-m` or `-c`: the same
arguments, environment, folder, session, streams, signals and end. What a new interpreter does as it starts is not
repeated, so a test about that starts a real process: imports, signals and streams before them, the entry point.
"""

import ctypes
import gc
import importlib
import inspect
import io
import json
import os
import pkgutil
import runpy
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

PATIENCE = 120.0
"""Seconds after which `run` gives up. It bounds a defect; all takes long where the machine is busy."""
REQUEST = 1 << 20
"""Bytes of a request at most."""
SUBREAPER = 36
"""`PR_SET_CHILD_SUBREAPER` of Linux: this process becomes the parent of those below it whose parent has ended."""
READ_AT_START = ("LANG", "LC_", "PYTHON")
"""How the names of the variables begin that an interpreter reads as it starts."""


class ForkedPython(subprocess.Popen[Any]):
    """A child of this process. Where it cannot be forked as it would start, it is a new process."""

    def _execute_child(self, *values: Any) -> None:
        how = inspect.signature(subprocess.Popen._execute_child).bind(self, *values).arguments
        environment = dict(how["env"] or os.environ)
        if sys.platform != "linux" or how["pass_fds"] or _at_start(environment) != _at_start(os.environ):
            return super()._execute_child(*values)
        pipes = {name: how[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")}
        streams = [pipes["p2cread"], pipes["c2pwrite"], pipes["errwrite"]]
        command = [os.fsdecode(each) for each in how["args"]]
        request = json.dumps([command, environment, os.fspath(how["cwd"] or Path.cwd()), how["start_new_session"]])
        server, _ = _server()
        socket.send_fds(server, [request.encode()], [max(own, given) for own, given in enumerate(streams)])
        self.pid = int(server.recv(REQUEST))
        self._child_created = True
        self._close_pipe_fds(**pipes)


def run(command: Sequence[str | bytes], text: bytes | None = None, **how: Any) -> subprocess.CompletedProcess[bytes]:
    """What `subprocess.run` gives for a command, whose standard input is `text` or nothing."""
    streams = {
        "stdin": subprocess.DEVNULL if text is None else subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    with ForkedPython(command, **streams, **how) as process:
        try:
            out, err = process.communicate(text, timeout=PATIENCE)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _at_start(environment: Any) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}


@cache
def _server() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """The process that forks, and the connection to it; it ends when this process does."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, __file__, str(there.fileno()), str(os.getpid())]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "pass_fds": [there.fileno()]}
    process = subprocess.Popen(command, **pipes)
    there.close()
    return here, process


# The process that forks -----------------------------------------------------------------------------------------------


def import_all() -> None:
    """As the program imports it, so that Textual reads the same settings."""
    from tui.start import REPAINTS

    os.environ["TEXTUAL_FPS"] = REPAINTS
    import tui.commands

    for name in (
        "tui.app",
        "core.loading.models",
        *(f"tui.commands.{each.name}" for each in pkgutil.iter_modules(tui.commands.__path__)),
    ):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def serve(requests: socket.socket) -> None:
    """Fork for each request. Returns in a process that was forked and has done what was asked."""
    while True:
        message, streams, *_ = socket.recv_fds(requests, REQUEST, 3)
        if not message:
            os._exit(0)
        told, tell = os.pipe()
        if not (between := os.fork()):
            if child := os.fork():
                os.write(tell, str(child).encode())
                os._exit(0)
            for other in (told, tell, requests.detach()):
                os.close(other)
            while os.getppid() != int(sys.argv[2]):
                time.sleep(0.0005)
            return become(*json.loads(message), streams)
        os.waitpid(between, 0)  # now this process's parent is the parent of the child
        requests.send(os.read(told, 20))
        for other in (told, tell, *streams):
            os.close(other)


def become(command: list[str], environment: dict[str, str], folder: str, session: bool, streams: list[int]) -> None:
    """Be the interpreter of a command from where it runs its first line."""
    if session:
        os.setsid()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(streams[number], number)
        os.close(streams[number])
        setattr(sys, name, stream := _standard_stream(number, getattr(sys, name)))
        setattr(sys, f"__{name}__", stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    _, option, what, *arguments = command
    sys.argv = [option, *arguments]
    if option == "-m":
        sys.path[0] = str(Path.cwd())
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = ""
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


def _standard_stream(number: int, before: io.TextIOWrapper) -> io.TextIOWrapper:
    """What the interpreter makes of a descriptor as it starts: the stream before was of another file."""
    file = io.FileIO(number, "rb" if number == 0 else "wb", closefd=False)
    file.name = before.name
    buffer = io.BufferedReader(file) if number == 0 else file if before.write_through else io.BufferedWriter(file)
    lines = not before.write_through and (number == 2 or os.isatty(number))
    return io.TextIOWrapper(
        buffer, before.encoding, before.errors, None if number == 0 else "\n", lines, before.write_through
    )


if __name__ == "__main__":
    sys.path[0] = ""
    import_all()
    serve(socket.socket(fileno=int(sys.argv[1])))
