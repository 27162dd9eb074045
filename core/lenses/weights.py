"""Owns what a model's weights are: how many by part, counted on the real tensors, and how any one is distributed."""

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.engine.packed.linear import Bias, Int4Linear, Int8Embedding, Int8Linear, matrix
from core.errors import Mistake
from core.events import Reading
from core.model import Transformer
from core.trace import Step

BINS = 40
NUMBERS_AT_ONCE = 4_000_000
"""Of a weight, that are in float32 at the same time."""
PARTS = ("embedding", "position", "attention", "mlp", "norm", "unembedding")


@dataclass(frozen=True, slots=True)
class Count:
    """One part of a model."""

    part: str
    """One of `PARTS`."""
    weights: int
    biases: int
    size_bytes: int
    """What it takes in memory, packed as it is."""

    @property
    def parameters(self) -> int:
        return self.weights + self.biases


@dataclass(frozen=True, slots=True)
class Named:
    """One weight that can be looked at."""

    name: str
    """As in the model: `blocks.0.attention.qkv.weight`."""
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """How the numbers of one weight are distributed; of packed ones the numbers they stand for."""

    name: str
    shape: tuple[int, ...]
    mean: float
    std: float
    low: float
    high: float
    counts: tuple[int, ...]
    """Numbers in each of equal bins from `low` to `high`."""


@dataclass(frozen=True, slots=True)
class Weights:
    """All weights counted, one of them in detail."""

    counts: tuple[Count, ...]
    """By part, those the model has; a tied unembedding counts as the embedding."""
    total: int
    """Their sum."""
    expected: int
    """What the configuration says, without looking at any tensor."""
    tied: bool
    """Whether the unembedding is the embedding."""
    names: tuple[Named, ...]
    histogram: Histogram | None
    """None until measured."""


def weights(step: Step, name: str = "embed.weight") -> Iterator[Reading | Weights]:
    """Counts at once, then the histogram of the weight called `name`. Raises `Mistake` for one that is not there."""
    transformer = step.model.transformer
    found = list(_tensors(transformer))
    named = tuple(Named(each.name, each.shape) for each in found)
    chosen = next((each for each in found if each.name == name), None)
    if chosen is None:
        raise Mistake(f"{step.model.info.name} has no weight {name!r}; there are {_some(named)}")
    counts = count(transformer)
    total, expected, tied = sum(each.parameters for each in counts), step.model.info.parameters, transformer.config.tied
    yield Weights(counts, total, expected, tied, named, None)
    histogram = yield from _histogram(chosen)
    yield Weights(counts, total, expected, tied, named, histogram)


def _some(named: tuple[Named, ...]) -> str:
    return ", ".join(each.name for each in named[:4]) + (" …" if len(named) > 4 else "")


def count(transformer: Transformer) -> tuple[Count, ...]:
    """The numbers of each part, on the tensors that the model computes with."""
    sums = {part: [0, 0, 0] for part in PARTS}
    for each in _tensors(transformer):
        numbers = math.prod(each.shape)
        mine = sums[_part(each.name)]
        mine[each.bias] += numbers
        mine[2] += each.size_bytes
    return tuple(Count(part, *values) for part, values in sums.items() if any(values))


def _part(name: str) -> str:
    for inside, part in (("norm", "norm"), ("attention", "attention"), ("feed_forward", "mlp")):
        if inside in name:
            return part
    return {"embed": "embedding", "position": "position", "unembed": "unembedding"}[name.partition(".")[0]]


@dataclass(frozen=True, slots=True)
class _Weight:
    name: str
    shape: tuple[int, ...]
    size_bytes: int
    module: nn.Module
    tensor: Tensor | None
    """None where the numbers are packed in the module."""

    @property
    def bias(self) -> bool:
        return self.name.endswith(".bias")

    def numbers(self) -> Iterator[Tensor]:
        """Its numbers in float32 on the CPU, some rows at a time."""
        rows = max(1, NUMBERS_AT_ONCE // math.prod(self.shape[1:]))
        for first in range(0, self.shape[0], rows):
            if self.tensor is None:
                yield matrix(self.module, first, first + rows)
            else:
                yield self.tensor[first : first + rows].detach().to("cpu", torch.float32)


def _tensors(transformer: Transformer) -> Iterator[_Weight]:
    """Every weight once, packed ones as what they stand for."""
    seen: set[int] = set()
    for path, module in transformer.named_modules():
        if isinstance(module, Int8Linear | Int8Embedding | Int4Linear) and id(module.quantized) not in seen:
            seen.add(id(module.quantized))
            size = module.quantized.nbytes + module.scales.nbytes
            yield _Weight(f"{path}.weight", module.shape, size, module, None)
        owner = path.removesuffix(".add_bias") if isinstance(module, Bias) else path
        for field, tensor in module.named_parameters(recurse=False):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield _Weight(f"{owner}.{field}", tuple(tensor.shape), tensor.nbytes, module, tensor)


def _histogram(weight: _Weight) -> Generator[Reading, None, Histogram]:
    total = math.prod(weight.shape)
    low, high, summed, squared, done = math.inf, -math.inf, 0.0, 0.0, 0
    yield Reading(0, 2 * total)
    for some in weight.numbers():
        least, most = torch.aminmax(some)
        low, high = min(low, least.item()), max(high, most.item())
        summed += some.sum(dtype=torch.float64).item()
        squared += some.double().square().sum().item()
        done += some.numel()
        yield Reading(done, 2 * total)
    counts = torch.zeros(BINS, dtype=torch.float64)
    for some in weight.numbers():
        counts += torch.histc(some, BINS, low, high)
        done += some.numel()
        yield Reading(done, 2 * total)
    mean = summed / total
    std = math.sqrt(max(0.0, squared / total - mean**2))
    return Histogram(weight.name, weight.shape, mean, std, low, high, tuple(int(n) for n in counts.tolist()))
