"""Keys act in the order in which they were typed, also where many come at once.

By itself, Textual runs the binding of a key at one of three times: at once where it has priority, when the focused
widget has seen the key where it inserts text, and when every widget around that one has seen it too for the rest,
such as backspace. So text that is typed after a backspace may be inserted before the backspace acts.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from textual import events
from textual.app import App
from textual.message_pump import MessagePump

Input = events.InputEvent | events.Paste
PAINT_SECONDS = 0.02
"""Within which what a key has changed is on the screen, where nothing else is drawn."""


class InputOrder:
    """Gives each event of keyboard and mouse to `handle` when all that the key before it has caused is done.

    After a key, a callback passes through the queues that the key passes through, and then through those of the
    messages it causes: that of the focused widget and of each one around it, up to the app.
    """

    def __init__(self, app: App[Any], handle: Callable[[events.Event], Awaitable[None]]) -> None:
        self._app, self._handle = app, handle
        self._waiting = deque[Input]()
        self._held = True
        self._busy = False
        """Whether a key is being handled."""
        self._read_at = self._done_at = 0.0
        """When the newest event was read, and when the last one was done."""

    def announce(self) -> None:
        """An event has been read, and comes soon. For any thread."""
        self._read_at = time.monotonic()

    @property
    def answering(self) -> bool:
        """Whether an event waits for its turn, or was done so lately that its answer may not be on the screen yet."""
        return self._read_at > self._done_at or time.monotonic() < self._done_at + PAINT_SECONDS

    @property
    def acting(self) -> bool:
        """Whether an event is being handled, or waits for its turn."""
        return self._busy or bool(self._waiting)

    def hold(self) -> None:
        """Let all events wait until `release`."""
        self._held = True

    def release(self) -> None:
        """Let the events act that have waited, and those to come. At first they are held."""
        self._held = False
        self._app.call_later(self._begin)

    async def take(self, event: Input) -> None:
        """Handle an event at its turn."""
        self._waiting.append(event)
        await self._begin()

    async def _begin(self) -> None:
        if not self._busy:
            await self._next()

    async def _next(self) -> None:
        self._busy = False
        while self._waiting and not self._busy and not self._held:
            event, focused = self._waiting.popleft(), self._target()
            self._done_at = time.monotonic()
            text = self._is_text(event)
            self._busy = isinstance(event, events.Key | events.Paste)
            await self._handle(event)
            if text and self._target() is focused and self._is_text_next():
                self._busy = False
            elif self._busy:
                self._pass(self._queues(focused))

    def _is_text(self, event: Input) -> bool:
        """Whether the focused widget inserts the key. It does so in its own queue, so text need not wait for text."""
        widget = self._app.focused
        return isinstance(event, events.Key) and bool(widget and widget.check_consume_key(event.key, event.character))

    def _is_text_next(self) -> bool:
        return bool(self._waiting) and self._is_text(self._waiting[0])

    def _pass(self, queues: Iterator[MessagePump]) -> None:
        """Put a callback into the next queue that takes it, which goes on from there; at last handle the next event."""
        for queue in queues:
            if queue.call_later(self._pass, queues):
                return
        self._app.call_later(self._next)

    def _queues(self, focused: MessagePump) -> Iterator[MessagePump]:
        yield from self._upwards(focused)  # with the key
        yield self._app  # acts on the key
        yield from self._upwards(self._target())  # with the messages that this caused

    def _upwards(self, pump: MessagePump | None) -> Iterator[MessagePump]:
        while pump and pump is not self._app:
            yield pump
            pump = pump._parent

    def _target(self) -> MessagePump:
        return self._app.focused or (self._app.screen if self._app.screen_stack else self._app)
