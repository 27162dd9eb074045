"""How many processor cores this process may compute with at the same time."""

import math
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from core import cgroups


def usable(root: Path = Path("/")) -> int:
    """Physical cores of the process's affinity, and no more than the CPU quota of its control groups; at least 1.

    Two hyperthreads share the arithmetic units of a core, so they count once. A container with a quota sees every core
    of its machine, and threads on all of them would stand still for most of the time. `root` is the root of the file
    system; only Linux tells there of hyperthreads and quotas.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = _physical(os.sched_getaffinity(0), root / "sys/devices/system/cpu")
    else:
        cores = os.cpu_count() or 1
    return max(1, math.floor(min((cores, *_quotas(root)))))


def _physical(processors: Collection[int], folder: Path) -> int:
    """The cores to which logical processors belong; as many as these where that is not known."""
    try:
        return len({(folder / f"cpu{n}/topology/thread_siblings_list").read_text() for n in processors})
    except OSError:
        return len(processors)


def _quotas(root: Path) -> Iterator[float]:
    """CPU quotas of this process's control groups, in processors."""
    for group, version in cgroups.folders("cpu", root):
        with suppress(OSError, ValueError, ZeroDivisionError):
            if version == 2:
                quota, period = map(int, (group / "cpu.max").read_text().split())  # "max 100000" without a quota
            else:
                quota, period = (int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
            if quota > 0:  # -1 without one
                yield quota / period
