"""The requests of one model to the engine that serves it: those on their way, and the last answers.

Belongs to one thread, which never waits longer than `PAUSE` without a chance to stop.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from core.errors import UserError
from core.remote.pending import Pending
from core.remote.values import Known
from core.sampling.next_distribution import NextDistribution
from core.sampling.partial import next_distribution

if TYPE_CHECKING:
    from core.remote.engine import RemoteEngine

T = TypeVar("T")
Key = bytes
"""Stands for the ids that a model has read."""
Ids = Callable[[], Sequence[int]]
"""Gives these ids, as far as the model sees them."""

PAUSE = 0.02
"""Seconds that are waited for an answer before the caller may stop."""
AT_ONCE = 16
"""Requests of one call that are on their way at most; the engine batches them."""
MEMORY = 64_000_000
"""Bytes of answers that are kept."""
FIRST = 50
"""The likeliest tokens that are asked for at first, unless the engine was started to give all of them; llama-server
gives all where they are asked for, and sorts them each time."""
SUMMED_ERROR = 1e-8
"""The share for each token of V by which llama-server's probabilities may be too large: it sums them one by one in
float32. Measured: 2e-4 for 49,152 tokens."""
OTHER_ERROR = 2e-5
"""That of other engines. Measured: 7e-6 for vLLM, 49,152 tokens."""
BYTES_FULL, BYTES_KNOWN = 12, 150
"""Memory of a distribution for each token of V, and of a partial one for each token that is known."""


@dataclass(slots=True, eq=False)
class _Flight:
    """A request on its way for the likeliest tokens after some ids."""

    pending: Pending[Known]
    count: int
    """As many tokens are asked for."""
    began: float = field(default_factory=time.perf_counter)
    seconds: float | None = None
    """From the request to the whole answer; None until it is there."""
    wanted: int = 0
    """How many iterators wait for it."""

    def ended(self) -> None:
        """Called on the thread of the requests."""
        self.seconds = time.perf_counter() - self.began


@dataclass(frozen=True, slots=True)
class _Answer:
    """A distribution that came."""

    distribution: NextDistribution
    count: int
    """As many tokens were asked for."""
    bytes: int


class Requests:
    """Asks an engine for next-token distributions, each at most once as long as its answer is kept.

    A request that nobody waits for any more goes on until another one begins; then it is cancelled.
    """

    def __init__(self, engine: "RemoteEngine", memory: int = MEMORY) -> None:
        self.engine = engine
        self.pause: Callable[[], None] = lambda: None
        """Called often while an answer is waited for; what it raises ends the waiting."""
        self.seconds: float | None = None
        """Of the last answer, from the request to its end."""
        told = engine.capabilities
        self._error = (told.vocab_size or 1) * SUMMED_ERROR if told.engine == "llama" else OTHER_ERROR
        self._memory, self._used = memory, 0
        self._answers: OrderedDict[Key, _Answer] = OrderedDict()
        """The one used last at the end."""
        self._flights: dict[Key, _Flight] = {}
        self._ahead = set[Key]()
        """What was asked for ahead of its use."""

    @property
    def first(self) -> int:
        """How many tokens are asked for at first."""
        told = self.engine.capabilities
        return self.engine.largest(None if told.full and told.engine != "llama" else FIRST)

    @property
    def waited(self) -> float | None:
        """Seconds since the oldest request on its way that is waited for began; None where there is none."""
        began = [flight.began for flight in self._flights.values() if flight.seconds is None]
        return time.perf_counter() - min(began) if began else None

    # Distributions ---------------------------------------------------------------------------------------------------

    def known(self, key: Key) -> NextDistribution | None:
        """The distribution for `key`; None where it is not there yet."""
        if (flight := self._flights.get(key)) and flight.pending.done and not flight.wanted:
            with suppress(UserError):  # it is asked for again, and then the reason is told
                self._arrived(key, flight)
        if found := self._answers.get(key):
            self._answers.move_to_end(key)
            return found.distribution
        return None

    def begin(self, wanted: Mapping[Key, Ids]) -> None:
        """Ask ahead for distributions; those that were asked for ahead before are given up."""
        missing = [key for key in wanted if self.known(key) is None]
        self._ahead = set(missing)
        self._give_up()
        for key in missing[:AT_ONCE]:
            self._send(key, wanted[key], self.first)

    def ask(self, wanted: Mapping[Key, Ids], count: int | None = None) -> Iterator[int]:
        """Wait for distributions of at least `count` tokens; yields how many are there, after each pause.

        Raises `UserError` for the first request that failed; the others are given up.
        """
        count = self.first if count is None else self.engine.largest(count)
        missing = [key for key in wanted if not self._enough(key, count)]
        if self._ahead.isdisjoint(missing):
            self._ahead = set()
        self._give_up(missing)
        done, following, waiting = len(wanted) - len(missing), iter(missing), dict[Key, _Flight]()
        try:
            while True:
                while len(waiting) < AT_ONCE and (key := next(following, None)) is not None:
                    waiting[key] = self._send(key, wanted[key], count)
                    waiting[key].wanted += 1
                if not waiting:
                    return
                next(iter(waiting.values())).pending.wait(PAUSE)
                for key, flight in [each for each in waiting.items() if each[1].pending.done]:
                    del waiting[key]
                    flight.wanted -= 1
                    self._arrived(key, flight)
                    done += 1
                if waiting:
                    yield done
        finally:
            for flight in waiting.values():
                flight.wanted -= 1

    def distributions(self, wanted: Mapping[Key, Ids], count: int | None = None) -> list[NextDistribution]:
        """The distributions for all of `wanted`, in its order; waits for those that are not there."""
        found, keys = list[NextDistribution](), list(wanted)
        least = self.first if count is None else self.engine.largest(count)
        for start in range(0, len(keys), AT_ONCE):  # so that none is dropped before it is used
            group = keys[start : start + AT_ONCE]
            while missing := {key: wanted[key] for key in group if not self._enough(key, least)}:
                for _ in self.ask(missing, least):
                    self.pause()
            found += [self._answers[key].distribution for key in group]
        return found

    # Other requests --------------------------------------------------------------------------------------------------

    def result(self, pending: Pending[T]) -> T:
        """The answer to another request, which is cancelled where the waiting is ended."""
        try:
            while not pending.wait(PAUSE):
                self.pause()
        except BaseException:
            pending.cancel()
            raise
        return pending.result()

    def stop(self) -> None:
        """Cancel every request that nobody waits for."""
        self._ahead = set()
        self._give_up()

    # Flights ---------------------------------------------------------------------------------------------------------

    def _enough(self, key: Key, count: int) -> bool:
        """Whether there is an answer to a request for at least `count` tokens."""
        self.known(key)
        return key in self._answers and self._answers[key].count >= count

    def _send(self, key: Key, ids: Ids, count: int) -> _Flight:
        """The request for `key` that is on its way, or a new one."""
        flight = self._flights.get(key)
        if flight is None or flight.count < count:
            if flight is not None and not flight.wanted:
                flight.pending.cancel()
            flight = self._flights[key] = _Flight(self.engine.next(ids(), count), count)
            flight.pending.on_done(flight.ended)
        return flight

    def _arrived(self, key: Key, flight: _Flight) -> None:
        """Keep the answer of a request that is done, unless a longer one is there. Raises `UserError` if it failed."""
        if self._flights.get(key) is flight:  # else a request for more tokens has taken its place
            del self._flights[key]
        said = flight.pending.result()
        self.seconds = flight.seconds
        size = BYTES_FULL * said.vocab_size if said.full else BYTES_KNOWN * len(said.ids)
        if before := self._answers.get(key):
            if before.count > flight.count:
                return
            self._used -= self._answers.pop(key).bytes
        self._answers[key] = _Answer(_distribution(said, self._error), flight.count, size)
        self._used += size
        while self._used > self._memory and len(self._answers) > AT_ONCE:
            self._used -= self._answers.popitem(last=False)[1].bytes

    def _give_up(self, wanted: Collection[Key] = ()) -> None:
        """Cancel requests that nobody waits for, that are not ahead and not among the `wanted` ones."""
        for key in [key for key, flight in self._flights.items() if not flight.wanted]:
            if key not in self._ahead and key not in wanted and not self.known(key):
                self._flights.pop(key).pending.cancel()


def _distribution(said: Known, error: float) -> NextDistribution:
    """The distribution that an answer tells; a mass that rounding has brought over 1 is 1."""
    ids: Any = said.ids
    logprobs: Any = said.logprobs
    mass = float(np.exp(logprobs).sum())
    return next_distribution(ids, logprobs - math.log(mass) if mass > 1 else logprobs, said.vocab_size, error)
