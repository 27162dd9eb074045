"""`tokenwalk serve` in a real browser, by keyboard. This needs Chromium; `test_serve.py` tests the rest without one."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from chromium import PROGRAM, Chromium

SERVE = (sys.executable, "-c", "from tui.start import main; main()", "serve", "--port", "0")


@pytest.mark.skipif(PROGRAM is None, reason="no chromium or google-chrome on the PATH")
async def test_a_prompt_is_typed_and_walked_in_a_browser(tmp_path: Path) -> None:
    server = await asyncio.create_subprocess_exec(
        *(*SERVE, "--tokenizer", "bytes", "--viewers", "1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
    )
    assert server.stdout is not None
    try:
        url = (await server.stdout.readline()).decode().strip()
        async with Chromium() as browser:
            await browser.open(url)
            await browser.until("WRITE", "others")
            await browser.press(*"oat milk")  # without a click
            await browser.until("oat milk", "token ids · 8")
            await browser.press("Enter", " ")
            await browser.until("WALK", "1 generated")
            await browser.press(".")
            await browser.until("branches")
            await browser.open(url)  # a reload waits for the place of the page before
            await browser.until("WRITE", "others")
            await browser.press("Escape")
            await browser.until("WALK")
            await browser.press("q")
            await browser.until_shown(".ended")
            assert {urlsplit(each).netloc for each in browser.urls} == {urlsplit(url).netloc}
            assert {urlsplit(each).scheme for each in browser.urls} == {"http", "ws"}
            assert [each for each in browser.problems if "WebGL" not in each] == []  # drawn without a GPU
        server.send_signal(signal.SIGTERM)
        assert await server.wait() == 128 + signal.SIGTERM
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()
