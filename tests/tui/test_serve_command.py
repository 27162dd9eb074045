"""`tokenwalk serve` as a command: its options, its end, and the app behind a page."""

import asyncio
import os
import re
import signal
import socket as sockets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType
from typer.main import get_command

from core.sessions.reader import read_record
from tui.cli import app
from tui.commands import serve
from tui.serve import viewer

Here = Callable[..., subprocess.CompletedProcess[bytes]]
SERVE = (sys.executable, "-c", "from tui.start import main; main()", "serve", "--port", "0")
STYLE = re.compile(r"\x1b\[[\d;]*m")


def passed_on(*arguments: str) -> list[str]:
    command = get_command(app).commands["serve"]  # type: ignore[attr-defined]
    call = command.make_context("serve", list(arguments))
    return list(serve._passed_on(call, {k: v for k, v in call.params.items() if k not in ("port", "viewers", "idle")}))


def test_the_options_of_the_app_are_passed_on_as_they_were_given() -> None:
    given = ["-m", "model5", "--heads", "4", "--choice", "a b", "--choice", "--c", "--chat", "-t", "0.7", "-n", "9"]
    expected = {
        *(("--model", "model5"), ("--heads", "4"), ("--choice", "a b"), ("--choice", "--c")),
        *(("--chat",), ("--temperature", "0.7"), ("-n", "9")),
    }
    passed = passed_on("--port", "9", *given, "--viewers", "2", "--", "-a prompt")
    assert {tuple(filter(None, each)) for each in _pairs(passed)} == expected
    walk = get_command(app).commands["walk"]  # type: ignore[attr-defined]
    assert walk.make_context("walk", passed).params["choice"] == ("a b", "--c")


def _pairs(passed: list[str]) -> list[tuple[str, str]]:
    """Options and values; `--chat` alone has none."""
    pairs, rest = [], iter(passed)
    for option in rest:
        pairs.append((option, "" if option == "--chat" else next(rest)))
    return pairs


def test_options_that_were_not_given_are_not_passed_on() -> None:
    assert passed_on("a prompt") == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--host", "0.0.0.0"), "ssh -L 8321:127.0.0.1:8321"),
        (("--model", "model9"), "model9"),
        (("--heads", "3", "--model", "model1"), "model1"),
        (("--temperature", "-1"), "temperature"),
        (("--viewers", "0"), "--viewers"),
        (("-",), "NUL"),
        (("--plain",), "--plain"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_no_page_could_open_is_refused_at_once(arguments: tuple[str, ...], named: str, run_here: Here) -> None:
    done = run_here("serve", *arguments, stdin=b"a\0b")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1
    assert named in done.stderr.decode()


def test_a_port_in_use_is_one_line(run_here: Here) -> None:
    with sockets.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run_here("serve", "--port", str(port))
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().splitlines()[-1] == (
        f"tokenwalk: port {port} is in use; choose another one with --port, or 0 for a free one"
    )


async def until(socket: ClientWebSocketResponse, *expected: str) -> None:
    """Read until the page was sent these texts."""
    drawn = b""
    async with asyncio.timeout(60):
        while not all(each.encode() in drawn for each in expected):
            message = await socket.receive()
            assert message.type == WSMsgType.BINARY, drawn[-2000:]
            drawn += message.data


@asynccontextmanager
async def served(folder: Path, *arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A server as a program of its own, and its address."""
    process = await asyncio.create_subprocess_exec(
        *(*SERVE, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
    )
    assert process.stdout is not None
    try:
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
async def test_a_signal_ends_the_server(tmp_path: Path, number: signal.Signals) -> None:
    async with served(tmp_path) as (process, url):
        address = urlsplit(url)
        assert (address.scheme, address.hostname) == ("http", "127.0.0.1")
        process.send_signal(number)
        out, err = await process.communicate()
    assert (process.returncode, out) == (128 + number, b"")
    assert err.decode().count("\n") == 1
    assert "up to 4 pages" in err.decode()


async def test_each_page_has_a_walk_and_a_session_file_of_its_own(tmp_path: Path) -> None:
    async with served(tmp_path, "oat", "--tokenizer", "bytes") as (process, url), ClientSession() as session:
        origin = {"Origin": url[: url.index("/", 8)]}
        one, two = [await session.ws_connect(f"{url}terminal", headers=origin) for _ in range(2)]
        for page, keys, expected in ((one, " ", "1 generated"), (two, "  ", "2 generated")):
            await until(page, "others")
            await page.send_json(["stdin", keys])
            await until(page, expected)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 128 + signal.SIGTERM
    saved = [read_record(path) for path in tmp_path.rglob("*oat*.json")]
    assert sorted(len(each.path()) for each in saved) == [len("oat") + 1, len("oat") + 2]


async def test_pasted_text_is_no_key_and_the_app_ends_with_its_input(tmp_path: Path) -> None:
    """An escape character in a paste, and bytes that are not UTF-8, end nothing; a server that was killed does."""
    started = await viewer.Viewer.start(
        viewer.program(["--tokenizer", "bytes"]), {**viewer.environment(80, 24), "XDG_DATA_HOME": str(tmp_path)}
    )
    drawn, output = b"", started.output()
    async with asyncio.timeout(30):
        while b"WRITE" not in drawn:
            drawn += await anext(output)
        await started._send(b"D", b"\x1b[200~ab\x1b\x1bq\xe9\x1b[201~")
        while "ab\\x1b\\x1bq\ufffd" not in STYLE.sub("", drawn.decode(errors="replace")):
            drawn += await anext(output)
        assert started._process.stdin is not None
        started._process.stdin.close()
        async for _ in output:
            pass
        assert await started._process.wait() == 0
