"""What a page of `tokenwalk serve` costs beside the same app in a terminal: start-up, a key, memory.

`python tests/benchmarks/pages.py [MODEL] [PAGES]`. Both sides take turns; memory is read from /proc (Linux).
"""

import asyncio
import os
import pty
import re
import statistics
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

PROGRAM = (sys.executable, "-c", "from tui.start import main; main()")
PROMPT = "I prefer oat milk in"
FIRST = b"others"
"""Is on the screen with the first distribution."""
ROUNDS = 3
KEYS = 20


def in_terminal(model: str, home: str) -> tuple[float, float]:
    """Seconds to the first distribution, and from a key to its token, in a pseudo-terminal."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (36, 120))
    began = time.perf_counter()
    app = subprocess.Popen(
        [*PROGRAM, PROMPT, "-m", model], stdin=slave, stdout=slave, stderr=slave, env=environment(home)
    )
    until(master, FIRST)
    start = time.perf_counter() - began
    times = []
    for number in range(1, KEYS + 1):
        began = time.perf_counter()
        os.write(master, b" ")
        until(master, f"{number} generated".encode())
        times.append(time.perf_counter() - began)
    os.write(master, b"q")
    app.wait()
    return start, statistics.median(times)


def until(file: int, expected: bytes) -> None:
    drawn = b""
    while expected not in drawn:
        drawn += os.read(file, 65536)


def environment(home: str) -> dict[str, str]:
    return {**os.environ, "TERM": "xterm-256color", "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}


async def drawn(page: ClientWebSocketResponse, expected: bytes) -> None:
    content = b""
    while expected not in content:
        message = await page.receive(120)
        assert message.type == WSMsgType.BINARY
        content += message.data


async def in_page(session: ClientSession, url: str) -> tuple[float, float, ClientWebSocketResponse]:
    """The same two times through a websocket; the page stays open."""
    origin = {"Origin": f"http://{urlsplit(url).netloc}"}
    began = time.perf_counter()
    page = await session.ws_connect(f"{url}terminal?width=120&height=36", headers=origin, max_msg_size=0)
    await drawn(page, FIRST)
    start = time.perf_counter() - began
    times = []
    for number in range(1, KEYS + 1):
        began = time.perf_counter()
        await page.send_json(["stdin", " "])
        await drawn(page, f"{number} generated".encode())
        times.append(time.perf_counter() - began)
    return start, statistics.median(times), page


def megabytes(pid: int) -> tuple[float, float]:
    """Resident memory, and its proportional share of pages that processes have in common."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return tuple(int(re.findall(rf"^{name}: +(\d+)", text, re.MULTILINE)[0]) / 1000 for name in ("Rss", "Pss"))


def children(pid: int) -> list[int]:
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(each) for file in files for each in file.read_text().split()]


async def main(model: str, pages: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        command = (*PROGRAM, "serve", PROMPT, "-m", model, "--port", "0", "--viewers", str(pages))
        began = time.perf_counter()
        server = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, env=environment(home))
        assert server.stdout is not None
        url = (await server.stdout.readline()).decode().strip()
        print(f"{model}: the server listens after {time.perf_counter() - began:.2f} s")
        async with ClientSession() as session:
            for _ in range(ROUNDS):
                own = in_terminal(model, home)
                start, key, page = await in_page(session, url)
                await page.close()
                print(f"  first distribution: page {start:.2f} s, terminal {own[0]:.2f} s, ratio {start / own[0]:.2f}")
                print(f"  key to token: page {1e3 * key:.0f} ms, terminal {1e3 * own[1]:.0f} ms")
            opened = [await in_page(session, url) for _ in range(pages)]
            for pid in (server.pid, *children(server.pid)):
                resident, proportional = megabytes(pid)
                name = "server" if pid == server.pid else "page"
                print(f"  {name}: {resident:.0f} MB resident, {proportional:.0f} MB with its share of common pages")
            for _, _, page in opened:
                await page.close()
        server.terminate()
        await server.wait()


if __name__ == "__main__":
    asyncio.run(
        main(sys.argv[1] if len(sys.argv) > 1 else "model5-trained", int(sys.argv[2]) if len(sys.argv) > 2 else 4)
    )
