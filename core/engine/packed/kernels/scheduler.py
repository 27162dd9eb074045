"""Shares the stages of one token among threads: each claims units of work from one atomic counter.

A thread that the operating system suspends delays only the units it has claimed; the others claim the rest.
"""

from numba import njit

from core.engine.packed.kernels import disk_cache
from core.engine.packed.kernels.block import HEAD_STAGES, QKV, STAGES, compute, linear_of, prepare, units_of
from core.engine.packed.kernels.descriptors import DONE, LEADER_WAITS
from core.engine.packed.kernels.emit import (
    atomic_add,
    atomic_load,
    atomic_store,
    compare_and_swap,
    compiled,
    pause,
    prefetch,
    yield_core,
)

PREFETCHED = 1 << 17
"""Bytes of the next matrix that a waiting thread prefetches."""
SPIN_COUNT = 10_000
"""Reads of the counter, some tenths of a millisecond, before a thread assumes that another was suspended."""
STATES_PER_SPIN_COUNT = 16
"""For so many states of a product by tiles, whose units take longer, it waits that long once more."""


@compiled
def _next_weights(stage, model, blocks, matrices):
    """Where the weights of the next product begin, and where to stop prefetching them."""
    linear = linear_of(stage + 2 if stage % STAGES == QKV else stage + 1, model, blocks)
    matrix = matrices[linear.first]
    return matrix.weights, matrix.weights + min(PREFETCHED, matrix.rows * matrix.stride)


@njit(nogil=True, fastmath=True, error_model="numpy")
def step(thread, progress, tasks, blocks, matrices):
    """One token through all blocks, the final norm and the unembedding; without blocks, given states through the head.

    `thread` is its number among those that may come; number 0 leads. `progress` is int64 [PROGRESS_WORDS]: word 0
    begins as -1 in the high 32 bits, all others as 0. `tasks` is an array of one `TASK`, `blocks` one of `BLOCK`,
    `matrices` one of `MATRIX`. The leading thread opens one stage after the other (a barrier: all units of a stage are
    done before the next is opened) and returns when all are done. The other threads return then or when they have
    found nothing to do for long; a call for a token that is finished does nothing.
    """
    words, model, spins, leader = progress.ctypes.data, tasks[0], 0, thread == 0
    near, end, prefetched_for = 0, 0, -2
    last = STAGES * len(blocks) + HEAD_STAGES
    patience = SPIN_COUNT * (1 + model.states // STATES_PER_SPIN_COUNT)
    while leader or atomic_load(words + 8 * LEADER_WAITS) == 0:
        word = atomic_load(words)
        stage, first = word >> 32, word & 0xFFFFFFFF
        if stage == last:
            return
        units = units_of(stage, model, blocks, matrices)
        if first < units:
            count = max(1, (units - first) // (2 * model.threads))  # fewer towards the end, so that all end together
            if compare_and_swap(words, word, word + count):
                compute(stage, first, first + count, thread, model, blocks, matrices)
                atomic_add(words + 8 * DONE, count)
            spins = 0
        elif leader and atomic_load(words + 8 * DONE) == units:
            prepare(stage + 1, model, blocks, matrices)
            atomic_store(words + 8 * DONE, 0)
            atomic_store(words, (stage + 1) << 32)
            spins = 0
        else:
            spins += 1
            if stage != prefetched_for and stage + 1 < last and len(blocks):
                prefetched_for, (near, end) = stage, _next_weights(stage, model, blocks, matrices)
            for line in range(near, min(near + 512, end), 64):
                prefetch(line)
            near += 512
            if spins < patience:
                pause()
            elif leader:
                atomic_store(words + 8 * LEADER_WAITS, 1)
                yield_core()
            else:
                return


disk_cache.enable(step)
