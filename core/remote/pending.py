"""A request that is on its way: ask whether it is done, wait for it, or cancel it, from any thread."""

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Pending(Generic[T]):
    """The answer to a request, which may not be there yet."""

    def __init__(self, future: "Future[T]") -> None:
        self._future = future

    @property
    def done(self) -> bool:
        """Whether `result` returns, or raises, at once."""
        return self._future.done()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is done, at most `seconds`; return `done`. Never raises what `result` would."""
        with suppress(TimeoutError, CancelledError):
            self._future.exception(seconds)
        return self._future.done()

    def result(self, seconds: float | None = None) -> T:
        """The answer, waiting for it at most `seconds`.

        Raises `UserError` where the engine cannot be reached or its answer is wrong, `TimeoutError` where the time is
        over (the request goes on), and `concurrent.futures.CancelledError` after `cancel`.
        """
        return self._future.result(seconds)

    def cancel(self) -> None:
        """Give the request up, and close its connection where it was sent. Harmless where it is done."""
        self._future.cancel()

    def on_done(self, call: Callable[[], None]) -> None:
        """Call `call` once it is done, on the thread of the requests; at once where it is done already."""
        self._future.add_done_callback(lambda _: call())
