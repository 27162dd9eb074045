"""How many CPU threads torch computes with, and how they wait. Imports torch only where that number is applied.

OpenMP's worker threads can wait for work in two ways. Spinning keeps a core busy, passive waiting leaves it free. The
environment must say which before torch is imported. Beside a screen, which needs a core, torch's threads wait passively
and leave one core unused. They also wait so beside products of compiled code (`core.engine.packed`), whose threads need
the cores: a prompt of 128 is read up to 1.6 times as fast. These products use all cores also beside a screen: their
threads do without one that is suspended. Otherwise torch's threads may spin, which makes a token on several threads up
to 1.7 times as fast. Models below `SMALL` parameters compute on one thread. A user's `OMP_NUM_THREADS` and
`OMP_WAIT_POLICY` take precedence over all of this.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import local

from core import cores


def prepare(*, beside_screen: bool = True, packed: bool = False) -> None:
    """Set the OpenMP wait policy; call this before torch is imported. `packed` weights mean products of compiled code.

    Beside a screen a thread gets the interpreter within 0.5 ms.
    """
    if beside_screen or packed:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if beside_screen:
        sys.setswitchinterval(0.0005)


_own = local()
SMALL = 30_000_000
"""Number of parameters below which one thread is faster than several: synchronization costs more than it saves."""


def count(parameters: int, *, beside_screen: bool) -> int:
    """The number of threads for a model: 1 for a small one, else `cores.usable()`, one fewer beside a screen."""
    requested = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if requested.isdecimal() and int(requested) > 0:
        return int(requested)
    if parameters < SMALL:
        return 1
    usable = cores.usable()
    return max(1, usable - 1) if beside_screen else usable


def apply(parameters: int, *, beside_screen: bool) -> int:
    """Apply `count` to the calling thread, for which alone torch keeps the number, and return it."""
    import torch  # noqa: PLC0415

    threads = count(parameters, beside_screen=beside_screen)
    torch.set_num_threads(threads)
    _own.products = count(parameters, beside_screen=False) if beside_screen else 0
    return threads


def products() -> int:
    """Among how many threads a product of compiled code is shared that the calling thread asks for."""
    import torch  # noqa: PLC0415

    threads: int = getattr(_own, "products", 0) or torch.get_num_threads()
    return threads


@contextmanager
def only_products_shared() -> Iterator[None]:
    """Within the block torch computes on the calling thread alone, products on as many threads as before.

    For little work between the products: torch's worker threads spin after it, on the cores that products need, and a
    barrier among more threads than cores takes until the operating system switches, several milliseconds.
    """
    outer = getattr(_own, "products", 0)
    _own.products = products()
    try:
        with single_thread():
            yield
    finally:
        _own.products = outer


@contextmanager
def single_thread() -> Iterator[None]:
    """Within the block torch computes on the calling thread alone.

    For the little work after a token's logits: worker threads that wait for more of it would slow the next token down.
    """
    import torch  # noqa: PLC0415

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
