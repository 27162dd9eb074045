"""Measures a loaded model: time to the first token, tokens a second, share of the memory bandwidth, memory.

The best of several runs counts, because other load on the machine can only slow a run down.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from core.engine.packed.kernels.cache_problems import problems
from core.generation.batch import Batch
from core.loading.model import Model
from core.sampling.sampler import Sampler

BANDWIDTH_BYTES = 2**28
"""Size of the tensor that is read to measure the memory bandwidth; far larger than the processor's caches."""


@dataclass(frozen=True, slots=True)
class BenchResult:
    """The speed and memory of one model on one machine."""

    model: str
    device: str
    dtype: str
    threads: int
    """Threads of torch on the CPU."""
    prompt_tokens: int
    first_token_seconds: float
    """From the ids of the prompt to the first sampled token."""
    prompt_tokens_per_second: float
    """Over the same time."""
    tokens_per_second: float
    """Of the tokens after the first."""
    weights_bytes: int
    """All weights, a tied matrix once."""
    bytes_per_token: int
    """Of the weights, the bytes that are read for each token."""
    bandwidth_bytes_per_second: float
    """Read bandwidth of the device's memory, as measured here."""
    peak_bytes: int | None
    """The largest memory in use: of the process on the CPU, otherwise of the device; None where it is unknown."""
    format: str = ""
    """The number format for people, such as `Q4_K_M as stored`."""
    implementation: str = "torch"
    """What computes single tokens, and why where it is the slow path: `Transformer.implementation`."""
    problems: tuple[str, ...] = ()
    """What was wrong with the cache of compiled code, so that the next start is slow as well."""

    @property
    def bandwidth_share(self) -> float:
        """The share of the memory bandwidth that generation uses; 1 is the limit for one sequence."""
        return self.tokens_per_second * self.bytes_per_token / self.bandwidth_bytes_per_second


def measure(model: Model, ids: Sequence[int], count: int, runs: int) -> BenchResult:
    """Read a prompt and sample `count` tokens, `runs` times; both at least 1."""
    device = model.transformer.device
    times = [_run(model, ids, count, device) for _ in range(runs)]
    first_token, each_token = (min(seconds) for seconds in zip(*times, strict=True))
    peak = _peak_bytes(device)
    weights, per_token = sizes(model)
    return BenchResult(
        model=model.info.name,
        device=model.info.device,
        dtype=model.info.dtype,
        format=model.info.format,
        threads=torch.get_num_threads(),
        prompt_tokens=len(ids),
        first_token_seconds=first_token,
        prompt_tokens_per_second=len(ids) / first_token,
        tokens_per_second=1 / each_token,
        weights_bytes=weights,
        bytes_per_token=per_token,
        bandwidth_bytes_per_second=_bandwidth(device),
        peak_bytes=peak,
        implementation=model.transformer.implementation,
        problems=tuple(problems),
    )


def _run(model: Model, ids: Sequence[int], count: int, device: torch.device) -> tuple[float, float]:
    """Seconds to the first token, and seconds for each token after it."""
    began = _now(device)
    batch = Batch(model, ids, Sampler(), samples=1)
    batch.step()
    first = _now(device)
    for _ in range(count):
        batch.step()
    return first - began, (_now(device) - first) / count


def _now(device: torch.device) -> float:
    """The time in seconds, after the device has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def sizes(model: Model) -> tuple[int, int]:
    """Bytes of all weights, and bytes that are read for each token.

    A token reads one row of the embedding and position tables, which is not counted, and all of a tied embedding.
    """
    transformer = model.transformer
    total = sum(_tensor_bytes(transformer).values())
    tables = _tensor_bytes(transformer.embed) | _tensor_bytes(transformer.position)
    unembedding = _tensor_bytes(transformer.unembed)
    return total, total - sum(size for address, size in tables.items() if address not in unembedding)


def _tensor_bytes(module: nn.Module) -> dict[int, int]:
    """The size of each parameter and buffer, by its address, so that shared tensors count once."""
    return {tensor.data_ptr(): tensor.nbytes for tensor in (*module.parameters(), *module.buffers())}


def _bandwidth(device: torch.device) -> float:
    """Bytes a second: the fastest of seven sums over one large tensor."""
    numbers = torch.ones(BANDWIDTH_BYTES // 4, device=device)
    return BANDWIDTH_BYTES / _fastest(numbers.sum, device, runs=7)


def _fastest(work: Callable[[], object], device: torch.device, runs: int) -> float:
    seconds = []
    for _ in range(runs):
        began = _now(device)
        work()
        seconds.append(_now(device) - began)
    return min(seconds)


def _peak_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    try:
        import resource  # noqa: PLC0415
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
