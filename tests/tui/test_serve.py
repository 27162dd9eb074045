"""`tokenwalk serve`: who is let in, what the page loads, and processes that live as long as their page."""

import asyncio
import json
import os
import re
from html import unescape
from pathlib import Path

import pytest
from aiohttp import WSServerHandshakeError
from pages import ECHO, TOKEN, Page, python, said, serving

from core.engine import memory
from tui.serve import access, server, viewer
from tui.serve.server import Limits

STUBBORN = """
    import os, time
    os.write(1, b"__GANGLION__\\nD\\0\\0\\0\\5" + str(os.getpid()).encode().rjust(5))
    time.sleep(60)
"""
"""Neither reads nor ends."""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8321", "localhost:8321", "LOCALHOST:1", "[::1]:8321", "127.0.0.1", "[::1]"]
)
def test_this_machine_is_let_in_with_the_token(host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert access.refusal(headers, TOKEN, TOKEN, needs_origin=True) is None
    assert access.refusal({"Host": host}, TOKEN, TOKEN, needs_origin=False) is None


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example:8321",
        "127.0.0.1.evil.example:8321",
        "localhost.:8321",
        "127.0.0.1:8321:1",
        "127.0.0.1:x",
        "[::1",
        "::1",
    ],
)
def test_a_name_that_points_here_is_refused(host: str) -> None:
    """A page of another site can give its own name this machine's address (DNS rebinding)."""
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert access.refusal(headers, TOKEN, TOKEN, needs_origin=True) == access.NO_NAME


@pytest.mark.parametrize(
    "origin",
    ["null", "http://evil.example", "https://127.0.0.1:8321", "http://127.0.0.1:9000", "http://localhost:8321"],
)
@pytest.mark.parametrize("needs_origin", [True, False])
def test_another_page_is_refused(origin: str, needs_origin: bool) -> None:
    headers = {"Host": "127.0.0.1:8321", "Origin": origin}
    assert access.refusal(headers, TOKEN, TOKEN, needs_origin=needs_origin) == access.NO_ORIGIN


@pytest.mark.parametrize("given", ["", "a-toke", "a-token ", "A-TOKEN", "字", "\udc80"])
def test_a_wrong_token_is_refused(given: str) -> None:
    assert access.refusal({"Host": "localhost:1"}, given, TOKEN, needs_origin=False) == access.NO_TOKEN


def test_tokens_are_long_and_differ() -> None:
    assert len({access.new_token() for _ in range(100)}) == 100
    assert len(access.new_token()) >= 43  # 256 bits in base 64


async def test_the_page_loads_nothing_from_elsewhere() -> None:
    async with serving() as page:
        status, text, answer = await page.get()
        assert status == 200
        (socket,) = re.findall(r'url="(ws:[^"]*)"', unescape(text))
        assert socket == f"{page.url.replace('http', 'ws')}terminal"
        links = re.findall(r'(?:src|href)="([^"]*)"', text)
        assert len(links) == 7
        for link in links:
            assert ":" not in link or link == "data:,"
            assert (await page.get(link))[0] == 200 or link == "data:,"
        assert "http" not in text
        policy = dict(each.strip().split(" ", 1) for each in answer.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert all(allowed in ("'none'", "'self'", "data:") for name, allowed in policy.items() if name != "style-src")
        assert "//" not in (await page.get("page.css"))[1]
        assert answer.headers["Referrer-Policy"] == "no-referrer"  # the address holds the token


@pytest.mark.parametrize("path", ["", "terminal", "page.css", "nothing"])
async def test_every_route_refuses_other_tokens_names_and_pages_in_one_line(path: str) -> None:
    async with serving() as page:
        good = page.url
        for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
            status, text, _ = await page.get(path, **headers)
            assert (status, text.count("\n"), text[:11]) == (403, 1, "tokenwalk: ")
        for other in (good.replace(TOKEN, "b-token"), good.replace(f"/{TOKEN}/", "/")):
            page.url = other
            status, text, answer = await page.get(path)
            assert (status, text) == (
                403,
                f"tokenwalk: {access.NO_ORIGIN if path == 'terminal' else access.NO_TOKEN}\n",
            )
            assert "Content-Security-Policy" in answer.headers


@pytest.mark.parametrize("headers", [{"Origin": ""}, {"Origin": "http://evil.example"}, {"Host": "evil.example"}])
async def test_a_websocket_of_another_page_starts_no_process(headers: dict[str, str]) -> None:
    async with serving(command=("/nonexistent",)) as page:
        with pytest.raises(WSServerHandshakeError) as refused:
            await page.connect(**headers)
        assert refused.value.status == 403


async def test_keys_go_to_a_process_of_the_page_and_its_output_comes_back() -> None:
    async with serving() as page, page.connect("?width=100&height=30") as one, page.connect() as other:
        first, second = await said(one), await said(other)
        assert first.endswith(" 100x30") and second.endswith(" 80x24")
        assert first.split()[0] != second.split()[0]
        await one.send_json(["stdin", "я\ud800"])
        assert await said(one) == "Dя?"
        await one.send_json(["resize", {"width": 7, "height": 10**9}])
        assert json.loads((await said(one))[1:]) == {"type": "resize", "width": 20, "height": 300}


@pytest.mark.parametrize(
    "junk",
    [
        "",
        "{",
        "[]",
        "[1]",
        "7",
        '["stdin"]',
        '["stdin", 7]',
        '["resize", 3]',
        '["quit"]',
        '["focus"]',
        '["exit", {}]',
        "[" * 100_000,
    ],
)
async def test_a_message_that_no_page_sends_is_ignored(junk: str) -> None:
    async with serving() as page, page.connect("?width=-1&height=many") as socket:
        assert (await said(socket)).endswith(" 80x24")
        await socket.send_str(junk)
        await socket.send_bytes(b"\xff")
        await socket.send_json(["stdin", "x"])
        assert await said(socket) == "Dx"


async def test_a_page_that_closes_ends_its_process() -> None:
    async with serving(Limits(viewers=1)) as page:
        for _ in range(2):  # the second one waits for the end of the first
            async with page.connect() as socket:
                pid = int((await said(socket)).split()[0])
                assert alive(pid)
        async with page.connect() as socket:
            await said(socket)
            assert not alive(pid)


async def test_an_app_that_ends_closes_its_page() -> None:
    async with serving() as page, page.connect() as socket:
        pid = int((await said(socket)).split()[0])
        await socket.send_json(["stdin", "q"])
        assert await said(socket) == ""
        assert socket.closed
    assert not alive(pid)


async def test_the_end_of_the_server_ends_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer, "CLOSING_SECONDS", 0.2)
    pids = []
    for program in (ECHO, STUBBORN):
        async with serving(command=python(program)) as page:
            for _ in range(2):
                pids.append(int((await said(await page.connect())).split()[0]))
    assert len(set(pids)) == 4
    assert not any(map(alive, pids))


async def test_no_more_pages_than_allowed_have_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.1)
    async with serving(Limits(viewers=2)) as page, page.connect() as one, page.connect() as two:
        assert await said(one) and await said(two)
        async with page.connect() as three:
            text = await said(three)
            assert (await said(three), text.count("\n")) == ("", 1)
        assert "every place is taken (2)" in text and "--viewers" in text
        await one.send_json(["stdin", "x"])
        assert await said(one) == "Dx"


async def test_without_a_key_a_process_ends_after_a_while() -> None:
    async with serving(Limits(idle_seconds=0.7)) as page, page.connect() as socket:
        pid = int((await said(socket)).split()[0])
        for _ in range(3):
            await asyncio.sleep(0.3)
            await socket.send_json(["stdin", "x"])
            assert await said(socket) == "Dx"
        await socket.send_json(["resize", {"width": 90, "height": 30}])  # no key
        assert await said(socket)
        assert "no key was pressed" in await said(socket)
        assert await said(socket) == ""
    assert not alive(pid)


async def test_no_process_is_started_without_memory_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 10**9)
    async with serving(Limits(memory_bytes=2 * 10**9), ("/nonexistent",)) as page, page.connect() as socket:
        assert "2.0 GB are needed and 1.0 GB are left" in await said(socket)
        assert await said(socket) == ""


async def test_the_message_of_a_program_that_cannot_start_is_shown() -> None:
    async with serving(command=python("import sys\nsys.exit('tokenwalk: no model\\nhere')")) as page:
        async with page.connect() as socket:
            assert await said(socket) == "tokenwalk: no model\r\nhere\r\n"
            assert await said(socket) == ""


async def test_a_program_that_is_not_there_is_shown() -> None:
    async with serving(command=("/nonexistent",)) as page, page.connect() as socket:
        assert (await said(socket)).endswith("tokenwalk: no process can be started: No such file or directory\r\n")
        assert await said(socket) == ""


async def test_what_is_not_there_is_said_in_one_line() -> None:
    async with serving() as page:
        status, text, _ = await page.get("../../etc/passwd".replace("/", "%2f"))
        assert (status, text.count("\n")) == (404, 1)


def test_a_process_gets_its_arguments_without_a_shell(tmp_path: Path) -> None:
    """No module of the working folder takes the place of another."""
    command = viewer.program(["--model", "a b;$(touch x)", "--", "-prompt"])
    assert command[1] == "-P"
    assert command[-5:] == ("walk", "--model", "a b;$(touch x)", "--", "-prompt")


def test_font_sizes_of_the_address_are_bounded() -> None:
    async def sizes(page: Page) -> list[str]:
        texts = [(await page.get(f"?fontsize={size}"))[1] for size in ("30", "9999", "x", "")]
        return [re.findall(r'font-size="(\d+)"', text)[0] for text in texts]

    async def run() -> list[str]:
        async with serving() as page:
            return await sizes(page)

    assert asyncio.run(run()) == ["30", "60", "16", "16"]
