"""Lets an engine go on by its likeliest tokens while these are the ones drawn, so that a token needs no request.

The distributions are the same as those of one request a token: an engine computes one token at a time in both cases.
Belongs to the thread of the requests.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

from core.errors import UserError
from core.remote.client import Client
from core.remote.engines.api import Ahead, EngineApi
from core.remote.values import BadAnswer, Known

TOKENS = 64
"""The engine goes ahead by at most so many."""
PROMPTLY = 0.1
"""Seconds after an answer within which a run asks for the next one; a person who steps takes longer."""
IDLE = 0.5
"""Seconds until a stream is ended that nobody asks any more."""
WEIGHT, WORTH = 0.15, 0.8
"""Of one token in the share of those that were the likeliest; the share from which going ahead pays. Measured with
llama-server: a request costs 4.8 ms, and a token that is not used up to 17 ms."""


class _Stream:
    """Distributions that the engine sends one after the other; `ids` are those before the next one."""

    def __init__(self, ids: list[int], count: int, answers: AsyncIterator[tuple[Known, int]]) -> None:
        self.ids, self.count = ids, count
        self._queue: asyncio.Queue[tuple[Known, int] | None] = asyncio.Queue()
        self._task = asyncio.ensure_future(self._fill(answers))
        self._timer: asyncio.TimerHandle | None = None

    async def _fill(self, answers: AsyncIterator[tuple[Known, int]]) -> None:
        try:
            with suppress(UserError, BadAnswer):  # the request for this token alone tells what is wrong
                async for answer in answers:
                    self._queue.put_nowait(answer)
        finally:
            self._queue.put_nowait(None)

    async def take(self) -> Known | None:
        """The next distribution; None where the stream has ended."""
        if self._timer:
            self._timer.cancel()
        answer = await self._queue.get()
        self._timer = asyncio.get_running_loop().call_later(IDLE, self._task.cancel)
        if answer is None:
            return None
        known, token = answer
        self.ids.append(token)
        return known

    async def end(self) -> None:
        """Close the connection, which tells the engine to stop."""
        if self._timer:
            self._timer.cancel()
        self._task.cancel()
        await asyncio.wait([self._task])


class GoAhead:
    """The stream of one engine, where there is one, and whether one would pay."""

    def __init__(
        self, client: Client, api: EngineApi, context: int | None, read: Callable[[bytes, int], list[Ahead]]
    ) -> None:
        self._client, self._api, self._read = client, api, read
        self._context = context
        self._stream: _Stream | None = None
        self._expected: list[int] = []
        """The ids of the last answer, and its likeliest token."""
        self._answered = 0.0
        self._share = 0.0
        """Of the tokens of a run that were the likeliest, the last ones counting most."""

    async def next(self, ids: Sequence[int], count: int, vocab_size: int) -> Known | None:
        """The distribution after `ids`, where the engine has gone ahead to it; None where it is to be asked for."""
        hit = ids == self._expected and time.perf_counter() - self._answered < PROMPTLY
        self._share += WEIGHT * (hit - self._share)
        if (stream := self._stream) and (stream.ids != ids or stream.count != count):
            self._stream = None
            await stream.end()
        if self._stream is None and hit and self._share >= WORTH:
            self._begin(ids, count, vocab_size)
        if (stream := self._stream) is None:
            return None
        if (known := await stream.take()) is None and self._stream is stream:
            self._stream = None
        return known

    def answered(self, ids: Sequence[int], known: Known) -> None:
        """Note an answer."""
        self._expected = [*ids, int(known.ids[known.logprobs.argmax()])]
        self._answered = time.perf_counter()

    def _begin(self, ids: Sequence[int], count: int, vocab_size: int) -> None:
        tokens = TOKENS if self._context is None else min(TOKENS, self._context - len(ids) - 1)
        request = self._api.ahead_request(ids, count, vocab_size, tokens) if tokens > 1 else None
        if request is None:
            return

        async def answers() -> AsyncIterator[tuple[Known, int]]:
            number = 0
            async for event in self._client.events(request):
                for answer in self._read(event, count):
                    number += 1
                    if answer.number not in (None, number):
                        return  # llama-server leaves out a token that is a part of a character
                    yield answer.known, answer.token

        self._stream = _Stream(list(ids), count, answers())
