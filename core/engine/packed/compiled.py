"""Whether there is compiled code, and the threads that run it. numba is imported for the first packed model.

As many threads take part as torch computes with. The calling thread does all work that the others do not take, so it
waits for them only where one was suspended in the middle of a unit; then it does without them for a while (back-off).
"""

import logging
import time
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from queue import SimpleQueue
from threading import Lock, Thread
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.engine.packed.kernels.descriptors import (
    BLOCK,
    GROUP,
    LEADER_WAITS,
    PROGRESS_WORDS,
    TASK,
    groups_of,
)

SHORTEST_PAUSE, LONGEST_PAUSE = 0.01, 0.5
"""Seconds of a back-off: the first one, and after many in a row."""


class Matrix(NamedTuple):
    """A packed linear map; `kernels.descriptors.MATRIX` says how its tensors lie in memory."""

    bits: int
    rows: int
    columns: int
    weights: Tensor
    scales: Tensor
    bias: Tensor | None
    """[rows], float32."""

    @property
    def descriptor(self) -> tuple[int, ...]:
        """Sizes and addresses, in the order of `MATRIX`."""
        tensors = (self.weights, self.scales, self.bias)
        return (self.bits, self.rows, self.columns, *(0 if each is None else each.data_ptr() for each in tensors))


@cache
def scheduler() -> ModuleType:
    """The module whose `step` is compiled at its first call."""
    from core.engine.packed.kernels import scheduler  # noqa: PLC0415

    return scheduler


@cache
def uses_avx2() -> bool:
    """Whether the products are computed by AVX2."""
    from core.engine.packed.kernels.emit import AVX2  # noqa: PLC0415

    return AVX2


@cache
def problem() -> str | None:
    """Why nothing can be compiled on this machine; None where it can. The first call compiles, or reads from disk."""
    try:
        ones = Matrix(8, GROUP, GROUP, torch.ones(GROUP, GROUP, dtype=torch.int8), torch.ones(GROUP).bfloat16(), None)
        correct = bool((Product(ones)(torch.ones(1, GROUP)) == GROUP).all())
    except Exception as error:  # a missing compiler raises anything
        logging.getLogger(__name__).info("nothing can be compiled, torch computes packed models", exc_info=True)
        return f"no compiler available ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    return None if correct else "the compiler makes wrong code for this processor"


def available() -> bool:
    """Whether compiled code computes here."""
    return problem() is None


class Product:
    """Multiplies any number of states by one packed map."""

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix
        self._task = np.zeros(1, TASK)
        self._task["head"] = matrix.descriptor
        self._task["avx2"] = uses_avx2()
        self._blocks = np.zeros(0, BLOCK)
        self._idle: list[tuple[Any, Tensor]] = []
        """Tasks for one state, with their work space, that no thread uses now."""

    def __call__(self, x: Tensor) -> Tensor:
        """[…, in] → […, out], float32."""
        x, count = x.float().contiguous(), x.numel() // self._matrix.columns
        outputs = torch.empty(*x.shape[:-1], self._matrix.rows)
        task, space = self._idle.pop() if count == 1 and self._idle else self._new_task(count)
        task["state"], task["logits"] = x.data_ptr(), outputs.data_ptr()
        run(task, self._blocks)
        if count == 1:
            self._idle.append((task, space))
        return outputs

    def _new_task(self, count: int) -> tuple[Any, Tensor]:
        task = self._task.copy()
        task["states"] = count
        return task, activations(task, "x", count * groups_of(self._matrix.columns))


def activations(task: Any, field: str, groups: int) -> Tensor:
    """Work space for quantized activations, which must live as long as the task; its addresses go to a field of it."""
    sizes = (2 * GROUP * groups, 4 * groups, 4 * groups, 4 * groups, 2 * GROUP * groups)  # as in ACTIVATIONS
    space = torch.empty(sum(sizes) + 64, dtype=torch.uint8)
    task[field] = tuple(accumulate(sizes[:-1], initial=space.data_ptr() + -space.data_ptr() % 64))
    return space


# Threads -------------------------------------------------------------------------------------------------------------


class _Helpers:
    """Threads that wait for work; while they wait they hold neither a core nor the interpreter's lock."""

    def __init__(self) -> None:
        self._queues: list[SimpleQueue[Any]] = []
        self._starting = Lock()
        self._back_at, self._pause = 0.0, SHORTEST_PAUSE

    def queues(self, count: int) -> Sequence[SimpleQueue[Any]]:
        """Where `count` of them wait for work; none during a back-off."""
        if time.monotonic() < self._back_at:
            return ()
        with self._starting:
            while len(self._queues) < count:
                self._queues.append(SimpleQueue())
                Thread(target=_help, args=(self._queues[-1],), name="helper", daemon=True).start()
        return self._queues[:count]

    def report(self, *, delayed: bool) -> None:
        """Start a back-off after a call that a helper `delayed`; each in a row is twice as long."""
        if delayed:
            self._back_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if delayed else max(0.8 * self._pause, SHORTEST_PAUSE)


def _help(queue: SimpleQueue[Any]) -> None:
    while True:
        work = queue.get()
        scheduler().step(False, *work)
        del work


_helpers = _Helpers()


def new_progress() -> Any:
    """What `scheduler.step` wants of `progress` at the beginning."""
    return np.array([-1 << 32, *[0] * (PROGRESS_WORDS - 1)])


def run(task: Any, blocks: Any) -> None:
    """Call `scheduler.step` in this thread and in as many helpers as torch has other threads."""
    progress = new_progress()
    queues = _helpers.queues(torch.get_num_threads() - 1)
    task["threads"] = 1 + len(queues)
    work = (progress, task, blocks)
    for queue in queues:
        queue.put(work)
    scheduler().step(True, *work)
    if queues:
        _helpers.report(delayed=bool(progress[LEADER_WAITS]))
