"""Shares the stages of a call among threads: each claims units of work from one atomic counter.

A thread that the operating system suspends delays only the units it has claimed; the others claim the rest.
"""

from numba import carray, njit, types

from core.engine.packed.kernels.descriptors import DONE, LINEAR, MATRIX, STAGE, TASK
from core.engine.packed.kernels.emit import (
    atomic_add,
    atomic_load,
    atomic_store,
    compare_and_swap,
    pause,
    pointer,
    prefetch,
    rest,
)
from core.engine.packed.kernels.objects import Source
from core.engine.packed.kernels.stages import alone, share

SPIN_COUNT = 10_000
"""Reads of the counter, some tenths of a millisecond, before a thread assumes that another was suspended, and rests."""
STATES_PER_SPIN_COUNT = 16
"""For so many states of a product by tiles, whose units take longer, it waits that long once more."""
RESTS = 200
"""How often a thread rests, 20 milliseconds in all, before it leaves a call in which it has found nothing to do."""


@njit(fastmath=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def step(thread, progress, task, stages, stage_count, linears, linear_count, matrices, matrix_count):
    """Compute all `stages` in their order: one token through a model, or states through one linear map.

    `thread` is its number among those that may come; number 0 leads. The others are addresses and counts. `progress` is
    int64 [PROGRESS_WORDS]: word 0 begins as -1 in the high 32 bits, all others as 0. `task` is one `TASK`; `stages`,
    `linears` and `matrices` are arrays of `STAGE`, `LINEAR` and `MATRIX`. The leading thread opens one stage after the
    other (a barrier: all units of a stage are done before the next is opened), computes alone those that are not
    shared, and returns when all are done. The other threads return then or when they have found nothing to do for long;
    a call that is finished does nothing.
    """
    model, stages = carray(pointer(task), (1,), TASK)[0], carray(pointer(stages), (stage_count,), STAGE)
    linears = carray(pointer(linears), (linear_count,), LINEAR)
    matrices = carray(pointer(matrices), (matrix_count,), MATRIX)
    words, spins, leader, last = progress, 0, thread == 0, stage_count
    near, end, prefetched_for = 0, 0, -1
    patience = SPIN_COUNT * (1 + model.states // STATES_PER_SPIN_COUNT)
    while leader or spins < patience + RESTS:
        word = atomic_load(words)
        stage, first = word >> 32, word & 0xFFFFFFFF
        if stage == last:
            return
        units = stages[stage].units if stage >= 0 else 0
        if first < units:
            count = max(1, (units - first) // (2 * model.threads))  # fewer towards the end, so that all end together
            if compare_and_swap(words, word, word + count):
                share(first, first + count, thread, stages[stage], model, linears, matrices)
                atomic_add(words + 8 * DONE, count)
            spins = 0
        elif leader and atomic_load(words + 8 * DONE) == units:
            stage += 1
            while stage < last and stages[stage].units == 0:
                alone(stages[stage], model, matrices)
                stage += 1
            atomic_store(words + 8 * DONE, 0)
            atomic_store(words, stage << 32)
            spins = 0
        else:
            spins += 1
            if stage != prefetched_for and stage >= 0:
                prefetched_for, near, end = stage, stages[stage].ahead, stages[stage].ahead_end
            for line in range(near, min(near + 512, end), 64):
                prefetch(line)
            near += 512
            if spins < patience:
                pause()
            else:
                rest()


def source() -> Source:
    """`step` as LLVM's text: a function of nine int64 that writes to two addresses more, which come first."""
    signature = (types.int64,) * 9
    step.compile(signature)
    return Source(step.inspect_llvm(signature), step.overloads[signature].fndesc.llvm_func_name)
