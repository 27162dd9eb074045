"""Sends requests to one server, on a thread and an event loop of its own, and bounds what comes back.

It knows HTTP and nothing of engines. A failure becomes one `UserError`; a retry happens only where it can help.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2
import msgspec

from core.errors import UserError
from core.language import _
from core.remote.address import Address
from core.remote.engines.api import Request
from core.remote.faults import Retry, status_error, too_large, too_slow, transport_error, words_of
from core.remote.pending import Pending
from core.remote.values import BadAnswer

T = TypeVar("T")


LARGEST_ERROR = 10_000
"""Bytes of an answer that are searched for the words of an error."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait, in seconds, and how much to take."""

    connect: float = 10.0
    answer: float = 300.0
    """Until an answer begins: a long prompt on a slow machine takes minutes."""
    body: float = 60.0
    """From the beginning of an answer to its end."""
    bytes: int = 64_000_000
    """Of one answer. All log-probabilities of 262,144 tokens need 25 million."""
    requests: int = 32
    """Sent at a time; the engine batches them, the others wait here."""
    attempts: int = 4
    longest_pause: float = 10.0
    """Between two attempts, also where a server asks for more."""


class Unusable(UserError):
    """An answer came, and does not say what was asked."""


class Client:
    """One server. Its thread starts with the first request, and ends with `close`."""

    def __init__(self, address: Address, limits: Limits | None = None) -> None:
        self.address, self.limits = address, limits or Limits()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._http: httpx2.AsyncClient | None = None
        self._slots: asyncio.Semaphore | None = None
        self._closed = False

    def submit(self, work: Coroutine[Any, Any, T]) -> Pending[T]:
        """Run `work` on the thread of the requests. From any thread."""
        with self._lock:
            if self._closed:
                work.close()
                raise RuntimeError("the client is closed")
            if self._loop is None:
                self._start()
            assert self._loop is not None
            future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return Pending(future)

    def _start(self) -> None:
        loop = self._loop = asyncio.new_event_loop()
        threading.Thread(target=_run, args=(loop,), name="remote", daemon=True).start()

    def narrow(self, requests: int) -> None:
        """Send at most `requests` at a time from now on. On the thread of the requests, while none is on its way.

        llama-server gives each open connection a thread, and 5 s pass until it leaves an idle one.
        """
        self._slots = asyncio.Semaphore(max(1, min(requests, self.limits.requests)))

    async def send(self, request: Request) -> bytes:
        """The body of the answer. On the thread of the requests only. Raises `UserError`."""
        if self._http is None:
            self._http = self._open()
        if self._slots is None:
            self._slots = asyncio.Semaphore(self.limits.requests)
        async with self._slots:
            for attempt in range(1, self.limits.attempts + 1):
                try:
                    return await self._once(self._http, request)
                except Retry as retry:
                    if attempt == self.limits.attempts:
                        raise retry.error from retry.__cause__
                    pause = 0.25 * 2 ** (attempt - 1) if retry.after is None else retry.after
                    await asyncio.sleep(min(pause, self.limits.longest_pause))
        raise AssertionError("unreachable")

    async def ask(self, request: Request, read: Callable[[bytes], T]) -> T:
        """What `read` makes of the answer. Raises as `send`, and `Unusable` where `read` raises `BadAnswer`."""
        answer = await self.send(request)
        try:
            return read(answer)
        except BadAnswer as error:
            problem = self.address.hide(
                _("the answer to {path} cannot be used: {reason}").format(
                    path=request.path, reason=_plainly(error, answer)
                )
            )
            raise Unusable(
                _("{address}: {problem}; check the engine and any proxy before it").format(
                    address=self.address, problem=problem
                )
            ) from error

    async def events(self, request: Request) -> AsyncIterator[bytes]:
        """The data of each server-sent event of an answer, until it ends. On the thread of the requests only.

        Raises `UserError`. Nothing is sent again.
        """
        if self._http is None or self._slots is None:
            raise RuntimeError("no request was sent before")
        content = msgspec.json.encode(request.body)
        url, headers = self.address.url + request.path, {"Content-Type": "application/json"}
        async with self._slots:
            try:
                async with self._http.stream(request.method, url, content=content, headers=headers) as response:
                    if response.status_code != httpx2.codes.OK:
                        raise status_error(self.address, request, response.status_code, response.headers, b"")
                    async for line in self._lines(response):
                        if line.startswith(b"data:"):
                            yield line.removeprefix(b"data:").strip()
            except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
                raise transport_error(self.address, error, began=True) from error

    async def _lines(self, response: httpx2.Response) -> AsyncIterator[bytes]:
        rest = b""
        async for part in response.aiter_bytes():
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                yield line
            if len(rest) > self.limits.bytes:
                raise too_large(self.address, self.limits.bytes)

    def _open(self) -> httpx2.AsyncClient:
        limits, count = self.limits, self.limits.requests
        return httpx2.AsyncClient(
            headers={"Accept-Encoding": "identity", "User-Agent": "tokenwalk", **self.address.headers},
            timeout=httpx2.Timeout(limits.answer, connect=limits.connect, pool=None),
            limits=httpx2.Limits(max_connections=count, max_keepalive_connections=count, keepalive_expiry=60),
            follow_redirects=False,  # a key goes to the host that was named, to no other
        )

    async def _once(self, http: httpx2.AsyncClient, request: Request) -> bytes:
        content = None if request.body is None else msgspec.json.encode(request.body)
        headers = {} if content is None else {"Content-Type": "application/json"}
        url = self.address.url + request.path
        began = False
        try:
            async with http.stream(request.method, url, content=content, headers=headers) as response:
                began = True
                async with asyncio.timeout(self.limits.body):
                    body = await self._read(response)
        except TimeoutError as error:
            raise too_slow(self.address, self.limits.body) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as error:
            raise transport_error(self.address, error, began=began) from error
        if response.status_code != httpx2.codes.OK:
            raise status_error(self.address, request, response.status_code, response.headers, body)
        return body

    async def _read(self, response: httpx2.Response) -> bytes:
        parts, size = [], 0
        async for part in response.aiter_bytes():
            parts.append(part)
            if (size := size + len(part)) > self.limits.bytes:
                raise too_large(self.address, self.limits.bytes)
        return b"".join(parts)

    def close(self) -> None:
        """Cancel what is on its way, close the connections and end the thread. Harmless twice."""
        with self._lock:
            loop, self._loop, self._closed = self._loop, None, True
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._shut(loop), loop)

    async def _shut(self, loop: asyncio.AbstractEventLoop) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._http is not None:
            await self._http.aclose()
        loop.stop()


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order, made at the same time; the first error cancels the others."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _plainly(error: BadAnswer, answer: bytes) -> str:
    """What is wrong with an answer: what it says itself, where it is a page or reports an error."""
    return words_of(answer[:LARGEST_ERROR]) or str(error)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()
