"""Owns the CPU thread policy; imports torch only where the policy is applied.

OpenMP workers that spin while they wait take the very core the screen needs. So beside a screen they wait passively,
which must be said in the environment before torch is imported, and one core is left to the screen. Without one they
may spin, which makes a token of several threads up to 1.7 times as fast. Small models compute on one thread.
`OMP_NUM_THREADS` and `OMP_WAIT_POLICY` of the user win over all that.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def prepare(*, beside_screen: bool = True) -> None:
    """Set what must be set before torch is imported, and let a waiting thread have the interpreter within 0.5 ms."""
    if beside_screen:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        sys.setswitchinterval(0.0005)


SMALL = 30_000_000
"""Parameters below which one thread is faster than several, which would wait for each other more than they compute."""


def count(parameters: int, *, beside_screen: bool) -> int:
    """How many threads torch should compute with: one for a small model, else all cores, less one beside a screen."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    if parameters < SMALL:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - 1) if beside_screen else cores


def apply(parameters: int, *, beside_screen: bool) -> int:
    """Bind the policy to the calling thread (torch counts threads per thread) and return the number of threads."""
    import torch  # noqa: PLC0415

    threads = count(parameters, beside_screen=beside_screen)
    torch.set_num_threads(threads)
    return threads


@contextmanager
def alone() -> Iterator[None]:
    """Torch computes on the calling thread within the block: what is done for one token after its logits is little.

    Threads that waited for more of it would take the cores from the next token.
    """
    import torch  # noqa: PLC0415

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
