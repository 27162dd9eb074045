"""Owns measuring a loaded model: time to the first token, tokens a second, share of the memory's speed, memory.

The best of several runs counts: whatever else the machine does can only slow a run down.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from core.batch import Batch
from core.config import Sampler
from core.models import Model

BLOCK = 2**28
"""Bytes that are read to measure the memory; far more than caches hold."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one model does on one machine. Times in seconds, sizes in bytes."""

    model: str
    device: str
    dtype: str
    threads: int
    """Of torch, on the CPU."""
    prompt_tokens: int
    first_token: float
    """From the ids of a prompt to the first token drawn."""
    prompt_rate: float
    """Tokens of the prompt a second until then."""
    rate: float
    """Tokens a second after that."""
    weights: int
    """All of them, each once."""
    read: int
    """Of them, what each token reads."""
    bandwidth: float
    """Bytes a second this device reads from its memory, as measured here."""
    peak: int | None
    """The most memory that was held: of the process on the CPU, else of the device; None where it is not told."""
    implementation: str = "torch"
    """What computes single tokens, and why where it is the slow path; see `Transformer.implementation`."""

    @property
    def share(self) -> float:
        """How much of the memory's speed the tokens use; 1 would be the fastest possible for one sequence."""
        return self.rate * self.read / self.bandwidth


def measure(model: Model, ids: Sequence[int], count: int, runs: int) -> Measured:
    """Read a prompt and draw `count` tokens, `runs` times; at least one of each."""
    device = model.transformer.device
    timed = [_run(model, ids, count, device) for _ in range(runs)]
    first, each = min(run[0] for run in timed), min(run[1] for run in timed)
    peak = _peak(device)
    weights, read = sizes(model)
    return Measured(
        model=model.info.name,
        device=model.info.device,
        dtype=model.info.dtype,
        threads=torch.get_num_threads(),
        prompt_tokens=len(ids),
        first_token=first,
        prompt_rate=len(ids) / first,
        rate=1 / each,
        weights=weights,
        read=read,
        bandwidth=_bandwidth(device),
        peak=peak,
        implementation=model.transformer.implementation,
    )


def _run(model: Model, ids: Sequence[int], count: int, device: torch.device) -> tuple[float, float]:
    """Seconds to the first token, and seconds a token after it."""
    began = _now(device)
    batch = Batch(model, ids, Sampler(), samples=1)
    batch.step()
    first = _now(device)
    for _ in range(count):
        batch.step()
    return first - began, (_now(device) - first) / count


def _now(device: torch.device) -> float:
    """The time, once the device has done all it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def sizes(model: Model) -> tuple[int, int]:
    """Bytes of all weights, and of those that each token reads: of the tables, only a row, but all of a tied one."""
    transformer = model.transformer
    whole = _places(transformer)
    tables = _places(transformer.embed) | _places(transformer.position)
    rows = {place: size for place, size in tables.items() if place not in _places(transformer.unembed)}
    return sum(whole.values()), sum(whole.values()) - sum(rows.values())


def _places(module: nn.Module) -> dict[int, int]:
    """The bytes at each place of the memory where a module keeps numbers."""
    return {tensor.data_ptr(): tensor.nbytes for tensor in (*module.parameters(), *module.buffers())}


def _bandwidth(device: torch.device) -> float:
    """The fastest of a few sums over one block."""
    block = torch.ones(BLOCK // 4, device=device)
    return BLOCK / _fastest(block.sum, device, runs=7)


def _fastest(work: Callable[[], object], device: torch.device, runs: int) -> float:
    seconds = []
    for _ in range(runs):
        began = _now(device)
        work()
        seconds.append(_now(device) - began)
    return min(seconds)


def _peak(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    try:
        import resource  # noqa: PLC0415
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
