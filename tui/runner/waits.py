"""Decides what gives way: what waits for an engine elsewhere to a job behind it, a step to a key on the screen."""

import time
from collections.abc import Callable

from core.progress import Interrupted
from tui.runner.jobs import Job, JobQueue

PATIENCE = 0.3
"""Seconds that a job waits for the one before it, so that keys in quick succession all count."""

COURTESY = 0.05
"""Seconds that a step waits at most until the screen has answered a key."""


class Waits:
    """What the runner's thread does at present, and since when."""

    def __init__(self, jobs: JobQueue) -> None:
        self._jobs = jobs
        self._job: Job | None = None
        self._operation = False
        self._since = 0.0

    @property
    def begins(self) -> bool:
        """Whether a job is being begun."""
        return self._job is not None

    def enter(self, job: Job | None, *, operation: bool = False) -> None:
        """`job` is begun now; without one, a step of an `operation` or of an answer in the idle time."""
        self._job, self._operation, self._since = job, operation, time.perf_counter()

    def for_screen(self, answers: Callable[[], bool]) -> None:
        """Wait while the screen answers a key: two threads of Python would hinder each other. A job ends the wait."""
        until = time.perf_counter() + COURTESY
        while answers() and not self._jobs and time.perf_counter() < until:
            time.sleep(0.001)

    def check(self) -> None:
        """Raise `Interrupted` where the next job does not wait any longer."""
        job = self._jobs.peek()
        if job is not None and self._gives_way(job):
            raise Interrupted

    def _gives_way(self, job: Job) -> bool:
        if job.stops or time.perf_counter() - self._since > PATIENCE:
            return True
        if self._job is not None:  # a newer prompt takes the place of an older one
            return job.slot is not None and job.slot == self._job.slot
        return job.interrupts or not self._operation
