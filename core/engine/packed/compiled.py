"""Whether there is compiled code, and the threads that run it. numba is imported only to compile.

As many threads take part as `core.engine.threads.products` says. The calling thread does all work that the others do
not take, so it waits for them only where one was suspended in the middle of a unit. Where other work needs the cores,
threads take them from each other, and it does without helpers for a while (back-off).
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from ctypes import CFUNCTYPE, c_int32, c_int64
from functools import cache
from itertools import accumulate, chain
from queue import SimpleQueue
from threading import Lock, Thread
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.engine import threads
from core.engine.packed.kernels.descriptors import (
    GROUP,
    IDENTITY,
    LINEAR,
    MATRIX,
    PRODUCT,
    PROGRESS_WORDS,
    STAGE,
    STATES,
    TASK,
    TILE_GROUPS,
    TILES,
    TILES_AT_ONCE,
    UNIT_ROWS,
    groups_of,
)
from core.language import _

SHORTEST_PAUSE, LONGEST_PAUSE = 0.01, 0.5
"""Seconds of a back-off: the first one, and after many in a row."""
MOST_LOST, MEMORY = 0.25, 0.2
"""The part of its time that the leading thread may be without a core; seconds that this is averaged over.

With both cores to itself it loses some percent, beside one busy program half.
"""
ROWS_AT_ONCE = 1024
"""Rows that are float32 at the same time."""
STEP = "step"
"""The name of `scheduler.step` among the compiled functions."""
TILED_FROM = 8
"""Number of states from which tiles are faster than one state after the other."""


class Matrix(NamedTuple):
    """A matrix as GGUF's blocks or plain numbers."""

    format: str
    """GGUF's name: `Q4_K`, `F16` …"""
    shape: tuple[int, int]
    """[rows, columns]."""
    weights: Tensor
    """uint8 [rows, bytes of a row]; rows may be in another order."""
    order: Tensor | None = None
    """int64 [rows]: our row n is row `order[n]` of `weights`. None where the order is the same."""
    name: str = ""
    """The tensor's name in the file."""

    def descriptor(self, instructions: str | None = None) -> tuple[int, ...]:
        """In the order of `MATRIX`; by default for the fastest instructions."""
        code = kernels().kernels(self.format, instructions or self.instructions, apart=self.order is not None)
        order = 0 if self.order is None else self.order.data_ptr()
        return (self.shape[0], self.weights.stride(0), self.weights.data_ptr(), order, *code)

    @property
    def instructions(self) -> str:
        return kernels().best()

    def finite(self) -> bool:
        """Whether all numbers are finite."""
        rows = range(0, self.shape[0], ROWS_AT_ONCE)
        return all(bool(self.dequantize(n, n + ROWS_AT_ONCE).isfinite().all()) for n in rows)

    def dequantize(self, first: int = 0, last: int | None = None) -> Tensor:
        """Rows `first` to `last`, float32 [rows, columns]."""
        rows = range(self.shape[0])[first:last]
        return self.rows(slice(rows.start, rows.stop) if self.order is None else torch.arange(rows.start, rows.stop))

    def rows(self, numbers: Tensor | slice) -> Tensor:
        """Rows by their numbers, int64 [n] → float32 [n, columns]; those of a slice of float32 are not copied."""
        packed = self.weights[numbers if self.order is None else self.order[numbers]]
        if self.format in PLAIN:
            return packed.view(PLAIN[self.format]).float()
        from gguf.constants import GGMLQuantizationType  # noqa: PLC0415
        from gguf.quants import dequantize  # noqa: PLC0415

        with np.errstate(all="ignore"):
            whole = dequantize(packed.numpy(), GGMLQuantizationType[self.format])
        return torch.from_numpy(whole)[:, : self.shape[1]]


PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Formats without blocks."""


@cache
def kernels() -> ModuleType:
    """The module that compiles products."""
    from core.engine.packed.kernels.native import machine  # noqa: PLC0415

    return machine


def instructions() -> str:
    """The instruction set that computes the products."""
    name: str = kernels().best()
    return name


@cache
def problem() -> str | None:
    """Why nothing can be compiled on this machine; None where it can. The first call compiles, or reads from disk."""
    try:
        from core.engine.packed.quantize import q8_0  # noqa: PLC0415

        ones = Matrix("Q8_0", (GROUP, GROUP), q8_0(torch.ones(GROUP, GROUP)))
        correct = bool(((Product([ones])(torch.ones(1, GROUP)) - GROUP).abs() < 0.1).all())
    except Exception as error:  # a missing compiler raises anything
        logging.getLogger(__name__).info("nothing can be compiled, torch computes packed models", exc_info=True)
        said = " ".join(str(error).split())[:200]
        return _("no compiler available ({kind}: {error})").format(kind=type(error).__name__, error=said)
    return None if correct else _("the compiler makes wrong code for this processor")


def compiles() -> bool:
    """Whether the first call of `problem` takes the seconds that compiling takes."""
    try:
        from core.engine.packed.kernels import objects  # noqa: PLC0415

        return not objects.kept(STEP)
    except Exception:  # `problem` then says why
        return False


def available() -> bool:
    """Whether compiled code computes here."""
    return problem() is None


class Product:
    """Multiplies any number of states by one linear map."""

    def __init__(self, parts: Sequence[Matrix], instructions: str | None = None) -> None:
        self._parts, self._columns = tuple(parts), parts[0].shape[1]
        self._rows = sum(part.shape[0] for part in parts)
        self._quantized = any(part.format not in PLAIN for part in parts)
        """Plain numbers are multiplied by the states as they are."""
        code, instructions = kernels(), instructions or kernels().best()
        self._matrices = np.array([part.descriptor(instructions) for part in parts], MATRIX)
        self._task = np.zeros(1, TASK)
        self._task["head"] = (0, len(parts), self._rows, self._columns, 0)
        self._quantize = [code.quantize(instructions, tiled=tiled) for tiled in (False, True)]
        self._task["transpose"] = code.transpose(instructions)
        self._linears = np.array([self._task["head"][0]], LINEAR)
        self._idle: list[tuple[Any, Any, list[Tensor]]] = []
        """Tasks for one state, with their stages and work space, that no thread uses now."""

    def __call__(self, x: Tensor) -> Tensor:
        """[…, in] → […, out], float32."""
        x, count = x.float().contiguous(), x.numel() // self._columns
        task, stages, space = self._idle.pop() if count == 1 and self._idle else self._new_task(count)
        outputs = torch.empty(_whole_blocks(count) if task["tiled"][0] else count, self._rows)
        task["logits"] = stages["target"][1] = outputs.data_ptr()
        stages["source"] = x.data_ptr()
        run(task, stages, self._linears, self._matrices)
        if count == 1:
            self._idle.append((task, stages, space))
        return outputs[:count].view(*x.shape[:-1], self._rows)

    def _new_task(self, count: int) -> tuple[Any, Any, list[Tensor]]:
        task, groups = self._task.copy(), groups_of(self._columns)
        task["states"], task["tiled"] = count, count >= TILED_FROM
        task["quantize"] = self._quantize[task["tiled"][0]]
        if not task["tiled"][0]:
            space = activations(task, "x", count * groups)
            return task, self._stages(task, count), [space]
        most = min(groups, TILE_GROUPS)
        numbers = 2 * GROUP * min(2 * groups, TILE_GROUPS)  # int16, or half as many float32
        tile = 16 * (numbers + 64 * (-(-4 * most // 64) + -(-8 * most // 64)))
        size = (1 + TILES_AT_ONCE) * tile + 1024  # what the expanded rows take, and the tiles
        task["tile_size"] = size
        tiles = torch.empty(threads.products() * size + 64, dtype=torch.uint8)
        task["tiles"] = tiles.data_ptr() + -tiles.data_ptr() % 64
        vectors = _whole_blocks(count)
        space = activations(task, "x", vectors * groups)
        if self._quantized and vectors > count:  # the vectors that fill up the last block are zero
            space.zero_()
        return task, self._stages(task, count), [space, tiles]

    def _stages(self, task: Any, count: int) -> Any:
        """The states to 15 bits, then their product."""
        stages = np.zeros(2, STAGE)
        tiled = bool(task["tiled"][0])
        units = [part.shape[0] for part in self._parts] if tiled else [self._rows]  # a tile has rows of one matrix
        stages["kind"] = STATES, TILES if tiled else PRODUCT
        stages["units"] = count if self._quantized else 0, sum(-(-rows // UNIT_ROWS) for rows in units)
        stages["count"], stages["vectors"], stages["rows"] = self._columns, count, self._rows
        stages["halves"], stages["activation"], stages["x"] = 1, IDENTITY, task["x"]
        stages["source_apart"], stages["target_apart"] = 4 * self._columns, 4 * self._rows
        stages["groups_apart"] = groups_of(self._columns)
        return stages


def _whole_blocks(count: int) -> int:
    """A number of states rounded up to blocks of `native.tiles`."""
    return -(-count // 8) * 8


def activation_sizes(groups: int) -> tuple[int, ...]:
    """Bytes of each field of `ACTIVATIONS`."""
    return GROUP * groups, GROUP * groups, 4 * groups, 4 * groups, 8 * groups


def activations(task: Any, field: str, groups: int) -> Tensor:
    """Work space for quantized activations, which must live as long as the task; its addresses go to a field of it."""
    places = list(accumulate((-(-size // 64) * 64 for size in activation_sizes(groups)), initial=0))
    space = torch.empty(places[-1] + 64, dtype=torch.uint8)
    task[field] = tuple(space.data_ptr() + -space.data_ptr() % 64 + place for place in places[:-1])
    return space


# Threads -------------------------------------------------------------------------------------------------------------


class _Helpers:
    """Threads that wait for work; while they wait they hold neither a core nor the interpreter's lock."""

    def __init__(self) -> None:
        self._queues: list[SimpleQueue[Any]] = []
        self._starting = Lock()
        self._back_at, self._pause = 0.0, SHORTEST_PAUSE
        self._seconds = self._lost = 0.0

    def queues(self, count: int) -> Sequence[SimpleQueue[Any]]:
        """Where `count` of them wait for work; none during a back-off."""
        if time.monotonic() < self._back_at:
            return ()
        with self._starting:
            while len(self._queues) < count:
                self._queues.append(SimpleQueue())
                Thread(target=_help, args=(self._queues[-1],), name="helper", daemon=True).start()
        return self._queues[:count]

    def report(self, seconds: float, lost: float) -> None:
        """Start a back-off where the leading thread `lost` too much of the `seconds` of its last calls.

        Each back-off in a row is twice as long.
        """
        kept = math.exp(-seconds / MEMORY)
        self._seconds, self._lost = kept * self._seconds + seconds, kept * self._lost + lost
        if self._lost > MOST_LOST * self._seconds:
            self._back_at = time.monotonic() + self._pause
            self._seconds = self._lost = 0.0
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        else:
            self._pause = max(0.8 * self._pause, SHORTEST_PAUSE)


def _help(queue: SimpleQueue[Any]) -> None:
    while True:
        work = queue.get()
        step(*work[:2])
        del work


_helpers = _Helpers()


def new_progress() -> Any:
    """What `scheduler.step` wants of `progress` at the beginning."""
    return np.array([-1 << 32, *[0] * (PROGRESS_WORDS - 1)])


def run(task: Any, stages: Any, linears: Any, matrices: Any) -> None:
    """Compute all stages of a task in this thread and in as many helpers as share it."""
    progress = new_progress()
    queues = _helpers.queues(threads.products() - 1)
    task["threads"] = 1 + len(queues)
    arrays = (progress, task, stages, linears, matrices)
    arguments = addresses(*arrays)
    for number, queue in enumerate(queues, 1):
        queue.put((number, arguments, arrays))  # the arrays live as long as a helper may read them
    began, computed = time.perf_counter(), time.thread_time()
    step(0, arguments)
    if queues:
        seconds, computed = time.perf_counter() - began, time.thread_time() - computed
        _helpers.report(seconds, seconds - computed)


def addresses(progress: Any, task: Any, stages: Any, linears: Any, matrices: Any) -> tuple[int, ...]:
    """The arguments of `scheduler.step` after the first: addresses of the arrays, and lengths of the last three."""
    counted = ((each.ctypes.data, len(each)) for each in (stages, linears, matrices))
    return (progress.ctypes.data, task.ctypes.data, *chain(*counted))


def step(thread: int, arguments: tuple[int, ...]) -> None:
    """`scheduler.step`; other threads of Python run meanwhile."""
    _machine_code()(*_RESULTS, thread, *arguments)


_result = np.zeros(2, np.int64)
_RESULTS = (_result.ctypes.data, _result.ctypes.data + 8)
"""Where numba's code writes None and its exceptions, of which there are none."""


@cache
def _machine_code() -> Callable[..., int]:
    from core.engine.packed.kernels import objects  # noqa: PLC0415

    def source() -> objects.Source:
        from core.engine.packed.kernels import scheduler  # noqa: PLC0415

        return scheduler.source()

    return CFUNCTYPE(c_int32, *[c_int64] * 11)(objects.address(STEP, source))
