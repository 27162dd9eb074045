"""A model's parameters: counts by part, taken from the tensors themselves, and the histogram of one of them."""

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.activations.trace import Step
from core.engine.model import Transformer
from core.engine.packed.linear import Bias, matrix
from core.engine.quantized import Quantized
from core.errors import UserError
from core.language import _
from core.progress import Progress

BINS = 40
NUMBERS_AT_ONCE = 4_000_000
"""Numbers of a weight that are in memory as float32 at the same time."""
PARTS = ("embedding", "position", "attention", "mlp", "norm", "unembedding")


@dataclass(frozen=True, slots=True)
class PartCount:
    """The number of parameters in one part of a model."""

    part: str
    """One of `PARTS`."""
    weights: int
    biases: int
    size_bytes: int
    """Memory of the part; of packed weights, of the packed form."""

    @property
    def parameters(self) -> int:
        return self.weights + self.biases


@dataclass(frozen=True, slots=True)
class NamedWeight:
    """One weight tensor that has a histogram."""

    name: str
    """Its name in `Transformer`, such as `blocks.0.attention.qkv.weight`."""
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """The distribution of the numbers of one weight; quantized weights are dequantized first."""

    name: str
    shape: tuple[int, ...]
    mean: float
    std: float
    low: float
    high: float
    counts: tuple[int, ...]
    """How many numbers are in each of `BINS` equal bins from `low` to `high`."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The counts of all weights, and the histogram of one."""

    counts: tuple[PartCount, ...]
    """For each part that the model has; a tied unembedding counts as the embedding."""
    total: int
    """Their sum."""
    expected: int
    """The number of parameters by the configuration alone, `ModelConfig.parameter_count`."""
    tied: bool
    """Whether embedding and unembedding share one matrix."""
    names: tuple[NamedWeight, ...]
    histogram: Histogram | None
    """None until measured."""


def weights(step: Step, name: str = "embed.weight") -> Iterator[Progress | Weights]:
    """The counts first, then the histogram of the weight called `name`. Raises `UserError` for an unknown name."""
    transformer = step.model.transformer
    found = list(_tensors(transformer))
    names = tuple(NamedWeight(each.name, each.shape) for each in found)
    chosen = next((each for each in found if each.name == name), None)
    if chosen is None:
        raise UserError(
            _("{model} has no weight {name!r}; its weights are {names}"),
            model=step.model.info.name,
            name=name,
            names=_first_names(names),
        )
    counts = count(transformer)
    total, expected, tied = sum(each.parameters for each in counts), step.model.info.parameters, transformer.config.tied
    yield Weights(counts, total, expected, tied, names, None)
    histogram = yield from _histogram(chosen)
    yield Weights(counts, total, expected, tied, names, histogram)


def _first_names(names: tuple[NamedWeight, ...]) -> str:
    return ", ".join(each.name for each in names[:4]) + (" …" if len(names) > 4 else "")


def count(transformer: Transformer) -> tuple[PartCount, ...]:
    """The number of parameters in each part, from the tensors that the model computes with."""
    sums = {name: [0, 0, 0] for name in PARTS}  # weights, biases, bytes
    for each in _tensors(transformer):
        part = sums[_part(each.name)]
        part[each.bias] += math.prod(each.shape)
        part[2] += each.size_bytes
    return tuple(PartCount(name, *values) for name, values in sums.items() if any(values))


def _part(name: str) -> str:
    for inside, part in (("norm", "norm"), ("attention", "attention"), ("feed_forward", "mlp")):
        if inside in name:
            return part
    first = name.partition(".")[0]
    return {"embed": "embedding", "position": "position", "project_in": "embedding"}.get(first, "unembedding")


@dataclass(frozen=True, slots=True)
class _Weight:
    name: str
    shape: tuple[int, ...]
    size_bytes: int
    module: nn.Module
    tensor: Tensor | None
    """None where the module holds them packed."""

    @property
    def bias(self) -> bool:
        return self.name.endswith(".bias")

    def numbers(self) -> Iterator[Tensor]:
        """Its numbers as float32 on the CPU, a few rows at a time."""
        rows = max(1, NUMBERS_AT_ONCE // math.prod(self.shape[1:]))
        for first in range(0, self.shape[0], rows):
            if self.tensor is None:
                yield matrix(self.module, first, first + rows)
            else:
                yield self.tensor[first : first + rows].detach().to("cpu", torch.float32)


def _tensors(transformer: Transformer) -> Iterator[_Weight]:
    """Every weight once; packed matrices by the name and shape of the matrix they stand for."""
    seen: set[int] = set()
    for path, module in transformer.named_modules():
        buffers = [*module.buffers(recurse=False)]
        if isinstance(module, Quantized) and id(buffers[0]) not in seen:
            seen.add(id(buffers[0]))
            size = sum(buffer.nbytes for buffer in buffers)
            yield _Weight(f"{path}.weight", module.shape, size, module, None)
        owner = path.removesuffix(".add_bias") if isinstance(module, Bias) else path
        for field, tensor in module.named_parameters(recurse=False):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield _Weight(f"{owner}.{field}", tuple(tensor.shape), tensor.nbytes, module, tensor)


def _histogram(weight: _Weight) -> Generator[Progress, None, Histogram]:
    count = math.prod(weight.shape)
    low, high, total, squares, done = math.inf, -math.inf, 0.0, 0.0, 0
    yield Progress(0, 2 * count)
    for numbers in weight.numbers():
        least, most = torch.aminmax(numbers)
        low, high = min(low, least.item()), max(high, most.item())
        total += numbers.sum(dtype=torch.float64).item()
        squares += numbers.double().square().sum().item()
        done += numbers.numel()
        yield Progress(done, 2 * count)
    counts = torch.zeros(BINS, dtype=torch.float64)
    for numbers in weight.numbers():
        counts += torch.histc(numbers, BINS, low, high)
        done += numbers.numel()
        yield Progress(done, 2 * count)
    mean = total / count
    std = math.sqrt(max(0.0, squares / count - mean**2))
    return Histogram(weight.name, weight.shape, mean, std, low, high, tuple(int(n) for n in counts.tolist()))
