"""Hands frames and problems from the runner's thread to the screen's thread, at a limited rate."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tui.runner.frames import Frame, Problem


class Outbox:
    """Holds the newest frame. `publish` is called when one is ready and the one before was taken."""

    def __init__(self, publish: Callable[[], None], fps: float) -> None:
        self._publish = publish
        self._interval = 1 / fps
        self.frame = Frame()
        self._problems: deque[Problem] = deque()
        self._taken = True
        self._lock = threading.Lock()
        self._shown_at = 0.0

    def take(self) -> tuple[Frame, list[Problem]]:
        """The newest frame, and the problems since the last call. For the screen's thread."""
        with self._lock:
            self._taken = True
        problems = []
        while self._problems:
            problems.append(self._problems.popleft())
        return self.frame, problems

    def add_problem(self, problem: Problem) -> None:
        """Let the next `take` return a problem."""
        self._problems.append(problem)

    def change(self, **fields: Any) -> None:
        """Replace fields of the frame."""
        self.frame = replace(self.frame, **fields)

    @property
    def taken(self) -> bool:
        """Whether the last frame was taken."""
        return self._taken

    def is_due(self) -> bool:
        """Whether the last frame was taken and its time on the screen has passed."""
        return self._taken and time.perf_counter() - self._shown_at >= self._interval

    def show(self) -> None:
        """Announce the frame as it is now."""
        with self._lock:
            taken, self._taken = self._taken, False
        self._shown_at = time.perf_counter()
        if taken:
            self._publish()
