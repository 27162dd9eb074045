"""The queue of jobs that the screen's thread fills and the runner's thread empties."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do on the runner's thread."""

    run: Callable[[], object]
    interrupts: bool
    """Whether it ends a generation that is going on."""
    slot: str | None = None
    """Of the waiting jobs with the same slot only the newest is kept; None keeps all."""
    stops: bool = False
    """Whether it ends whatever is waited for, and nothing is asked for after it."""
    aside: bool = False
    """Whether whatever goes on goes on after it."""


class JobQueue:
    """First in, first out."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> None:
        """Add a job at the end; those that wait in the same slot are dropped."""
        with self._lock:
            if job.slot is not None:
                remaining = [waiting for waiting in self._jobs if waiting.slot != job.slot]
                self._jobs.clear()
                self._jobs.extend(remaining)
            self._jobs.append(job)
        self._wake.set()

    def pop(self) -> Job:
        """Remove the oldest job and return it."""
        with self._lock:
            return self._jobs.popleft()

    def peek(self) -> Job | None:
        """The oldest job, which stays in the queue; None where it is empty."""
        with self._lock:
            return self._jobs[0] if self._jobs else None

    def wait(self, timeout: float | None) -> None:
        """Block until a job is put, `wake` is called or `timeout` seconds have passed."""
        self._wake.wait(timeout)
        self._wake.clear()

    def wake(self) -> None:
        """End a `wait`."""
        self._wake.set()
