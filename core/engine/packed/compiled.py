"""Owns the threads that run compiled code, and whether there is any: numba is imported for the first packed model.

As many take part as torch computes with. The thread that calls does whatever the others come too late for, so it
depends on none of them; where one lost its core in the midst of something, it does without them for a while.
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

SHORTEST, LONGEST = 0.01, 0.5
"""Seconds without help after it was in the way for once, and where it often is."""


class Matrix(NamedTuple):
    """A packed linear map as the kernels are told of it: `levels` and `scales` as torch's own kernels want them."""

    bits: int
    rows: int
    columns: int
    levels: Tensor
    scales: Tensor
    bias: Tensor | None
    """[rows], float32."""

    @property
    def record(self) -> tuple[int, ...]:
        """Sizes and addresses."""
        tensors = (self.levels, self.scales, self.bias)
        return (self.bits, self.rows, self.columns, *(0 if each is None else each.data_ptr() for each in tensors))


class Order(NamedTuple):
    """How torch packs int4 here: each input has the bytes of 2 · `half` rows together.

    The low halves of the bytes are the levels of rows n · near, the high ones of rows n · near + far.
    """

    half: int
    near: int
    far: int


ORDERS = (Order(16, 1, 16), Order(32, 1, 32), Order(16, 2, 1), Order(8, 2, 1))
"""For AVX2, AVX-512, other processors with vectors of 8 numbers, and of 4."""


def packed(levels: Tensor, order: Order) -> Tensor:
    """Levels [rows, columns] of 0 to 15 in an order, [rows · columns / 2]."""
    blocks = levels.unflatten(0, (-1, 2 * order.half))
    low, high = (blocks[:, at :: order.near][:, : order.half] for at in (0, order.far))
    return (high << 4 | low).transpose(1, 2).flatten().to(torch.uint8)


@cache
def order() -> Order | None:
    """That of torch on this processor; None where it is one that the kernels do not know."""
    rows = torch.arange(64, dtype=torch.int32)[:, None]
    levels = torch.cat((rows % 16, rows // 16), 1).repeat(1, 16)  # [64, 32]: no two rows are alike
    theirs = torch.ops.aten._convert_weight_to_int4pack_for_cpu(levels, 1).flatten()
    known = [each for each in ORDERS if each.near == 1 or not kernels().AVX2]
    return next((each for each in known if torch.equal(packed(levels, each), theirs)), None)


@cache
def kernels() -> ModuleType:
    """The compiled code, as it is before it was ever used."""
    from core.engine.packed import kernels  # noqa: PLC0415

    return kernels


@cache
def available() -> bool:
    """Whether there is compiled code; it is compiled here, unless it was before. Else all goes through torch."""
    try:
        wide = kernels().GROUP
        ones = Matrix(8, wide, wide, torch.ones(wide, wide, dtype=torch.int8), torch.ones(wide).bfloat16(), None)
        works = bool((Product(ones)(torch.ones(1, wide)) == wide).all())
    except Exception as error:  # whatever a compiler lacks, there is another way
        logging.getLogger(__name__).info("torch computes single tokens, for nothing could be compiled: %s", error)
        return False
    return works


def takes(matrix: Matrix) -> bool:
    """Whether the kernels compute a packed map like this."""
    if not available() or matrix.columns % kernels().GROUP:
        return False
    return matrix.bits == 8 or ((known := order()) is not None and matrix.rows % (2 * known.half) == 0)


class Product:
    """Any number of states through a packed map."""

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix
        self._task = np.zeros(1, kernels().TASK)
        self._task["head"] = matrix.record
        for name, value in (order() or ORDERS[0])._asdict().items():
            self._task[name] = value
        self._blocks = np.zeros(0, kernels().BLOCK)
        self._idle: list[tuple[Any, Tensor]] = []
        """What was used for one state before, with its room."""

    def __call__(self, x: Tensor) -> Tensor:
        """[…, in] → […, out], float32."""
        x, count = x.float().contiguous(), x.numel() // self._matrix.columns
        made = torch.empty(*x.shape[:-1], self._matrix.rows)
        told = self._idle.pop() if count == 1 and self._idle else self._told(count)
        task = told[0][0]
        task["state"], task["product"] = x.data_ptr(), made.data_ptr()
        run(told[0], self._blocks)
        if count == 1:
            self._idle.append(told)
        return made

    def _told(self, count: int) -> tuple[Any, Tensor]:
        task = self._task.copy()
        task["count"] = count
        return task, levels(task, "x", count * self._matrix.columns)


def levels(task: Any, name: str, count: int) -> Tensor:
    """Room for `count` quantised activations, which `task` is told of by that name; to be kept as long as that."""
    groups = count // kernels().GROUP
    sizes = (2 * count, 4 * groups, 4 * groups, 4 * groups, 16 * count)
    room = torch.empty(sum(sizes) + 64, dtype=torch.uint8)
    places = accumulate(sizes[:-1], initial=room.data_ptr() + -room.data_ptr() % 64)
    task[name] = tuple(places)
    return room


# Threads -------------------------------------------------------------------------------------------------------------


class _Helpers:
    """Threads that wait for work, without the interpreter and without a core."""

    def __init__(self) -> None:
        self._queues: list[SimpleQueue[Any]] = []
        self._growing = Lock()
        self._back, self._pause = 0.0, SHORTEST

    def wanted(self, count: int) -> Sequence[SimpleQueue[Any]]:
        """Where `count` of them wait; nowhere after they were in the way."""
        if time.monotonic() < self._back:
            return ()
        with self._growing:
            while len(self._queues) < count:
                self._queues.append(SimpleQueue())
                Thread(target=_help, args=(self._queues[-1],), name="helper", daemon=True).start()
        return self._queues[:count]

    def judge(self, *, alone: bool) -> None:
        """Do without them for a while where it would have been faster `alone`, for longer where that happens often."""
        if alone:
            self._back = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST) if alone else max(0.8 * self._pause, SHORTEST)


def _help(queue: SimpleQueue[Any]) -> None:
    while True:
        work = queue.get()
        kernels().step(False, *work)
        del work


_helpers = _Helpers()


def run(task: Any, blocks: Any) -> None:
    """Take a token through the blocks to its state and through the head; where there are no blocks, some states."""
    progress = np.array([-1 << 32, *[0] * 23])  # three lines of a cache
    queues = _helpers.wanted(torch.get_num_threads() - 1)
    task["threads"] = 1 + len(queues)
    work = (progress, task, blocks)
    for queue in queues:
        queue.put(work)
    kernels().step(True, *work)
    if queues:
        _helpers.judge(alone=bool(progress[kernels().ALONE]))
