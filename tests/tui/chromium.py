"""A headless Chromium, driven by keyboard through the DevTools protocol."""

import asyncio
import base64
import itertools
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
"""The browser; None where there is none."""
PATIENCE = 40.0
CAPTURE = """Object.defineProperty(Object.prototype, 'websocket_url', {configurable: true, set(url) {
    window.client = this; Object.defineProperty(this, 'websocket_url', {value: url, writable: true}) }})"""
"""Keep the client of textual-serve when it is made, to read its terminal."""
SCREEN = """(() => { const screen = window.client.terminal.buffer.active, lines = []
    for (let y = 0; y < screen.length; y++) lines.push(screen.getLine(y).translateToString(true))
    return lines.join('\\n') })()"""
KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "ArrowDown": (40, ""), "ArrowUp": (38, "")}


class Chromium:
    """A page of a browser with a profile of its own."""

    def __init__(self, size: tuple[int, int] = (1000, 640)) -> None:
        self._size, self._ids = size, itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.urls: list[str] = []
        """What the page asked for."""
        self.problems: list[str] = []
        """What the browser refused or complained about."""

    async def __aenter__(self) -> "Chromium":
        assert PROGRAM is not None
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run")
        self._process = await asyncio.create_subprocess_exec(
            PROGRAM,
            *options,
            f"--user-data-dir={self._profile}",
            f"--window-size={self._size[0]},{self._size[1]}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        self._session = aiohttp.ClientSession()
        async with asyncio.timeout(PATIENCE):
            port = (await self._port()).splitlines()[0]
            async with self._session.get(f"http://127.0.0.1:{port}/json") as answer:
                pages = [each for each in await answer.json() if each["type"] == "page"]
            self._socket = await self._session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)
        self._reading = asyncio.create_task(self._read())
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.call("Page.addScriptToEvaluateOnNewDocument", source=CAPTURE)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reading.cancel()
        await self._session.close()
        self._process.kill()
        await self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    async def _port(self) -> str:
        file = Path(self._profile) / "DevToolsActivePort"
        while not (file.exists() and (text := file.read_text())):
            await asyncio.sleep(0.05)
        return text

    async def _read(self) -> None:
        async for message in self._socket:
            event = message.json()
            if "id" in event:
                self._answers.pop(event["id"]).set_result(event)
                continue
            values = event["params"]
            match event["method"]:
                case "Network.requestWillBeSent":
                    self.urls.append(values["request"]["url"])
                case "Network.webSocketCreated":
                    self.urls.append(values["url"])
                case "Runtime.exceptionThrown":
                    self.problems.append(values["exceptionDetails"]["exception"].get("description", ""))
                case "Log.entryAdded":
                    self.problems.append(values["entry"]["text"])

    async def call(self, method: str, **values: Any) -> Any:
        """Call a method of the protocol and return its result."""
        number = next(self._ids)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": values})
        answer = await asyncio.wait_for(self._answers[number], PATIENCE)
        assert "error" not in answer, answer
        return answer["result"]

    async def open(self, url: str) -> None:
        """Go to a page."""
        await self.call("Page.navigate", url=url)

    async def evaluate(self, code: str) -> Any:
        """The value of an expression in the page; None where it fails."""
        return (await self.call("Runtime.evaluate", expression=code, awaitPromise=True))["result"].get("value")

    async def press(self, *keys: str) -> None:
        """Press keys, each a character or a name of `KEYS`."""
        for key in keys:
            code, text = KEYS[key] if key in KEYS else (ord(key.upper()) if key.isalnum() else 0, key)
            values = {"key": key, "windowsVirtualKeyCode": code, **({"text": text} if text else {})}
            await self.call("Input.dispatchKeyEvent", type="keyDown", **values)
            await self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    async def screen(self) -> str:
        """The text of the terminal."""
        return str(await self.evaluate(SCREEN) or "")

    async def until(self, *expected: str) -> str:
        """Wait until the terminal shows all of these texts; returns its text."""
        loop = asyncio.get_running_loop()
        end, shown = loop.time() + PATIENCE, await self.screen()
        while not all(each in shown for each in expected):
            assert loop.time() < end, f"{expected} is not shown: {shown}\n{self.problems}"
            await asyncio.sleep(0.05)
            shown = await self.screen()
        return shown

    async def until_shown(self, selector: str) -> None:
        """Wait until the first element of a selector can be seen."""
        async with asyncio.timeout(PATIENCE):
            while not await self.evaluate(f"document.querySelector('{selector}').checkVisibility()"):
                await asyncio.sleep(0.05)

    async def picture(self, file: Path) -> None:
        """Save what the browser shows."""
        content = await self.call("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(content["data"]))
