"""Logits of many shapes, and a naive sampler in float64 that sorts the whole vocabulary."""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

INF = math.inf


def normal(count: int, scale: float, seed: int, shift: float = 0.0) -> Tensor:
    return shift + scale * torch.randn(count, generator=torch.Generator().manual_seed(seed))


def with_holes(logits: Tensor, every: int) -> Tensor:
    logits = logits.clone()
    logits[::every] = -INF
    return logits


LOGITS = {
    "one token": torch.tensor([3.0]),
    "two tokens": torch.tensor([-1.0, 2.0]),
    "two equal": torch.tensor([5.0, 5.0]),
    "all equal": torch.zeros(1000),
    "all equal and huge": torch.full((64,), -1e4),
    "flat": normal(5000, 0.01, seed=1),
    "usual": normal(5000, 2.0, seed=2),
    "peaked": normal(5000, 30.0, seed=3),
    "one argmax": torch.cat((normal(999, 1.0, seed=4), torch.tensor([40.0]))),
    "one outcast": torch.cat((normal(999, 1.0, seed=5), torch.tensor([-1e4]))),
    "ties of bf16": normal(5000, 2.0, seed=6).bfloat16().float(),
    "two values": torch.tensor([1.0, 0.0] * 50),
    "a ramp": torch.linspace(-8, 8, 3000),
    "a ramp down": torch.linspace(8, -8, 3000),
    "a hair apart": 1 + 1e-6 * torch.arange(100),
    "extremes": torch.tensor([1e4, -1e4, 0.0, 1e4, 9999.0]),
    "far up": normal(2000, 2.0, seed=7, shift=1e4),
    "far down": normal(2000, 2.0, seed=8, shift=-1e4),
    "holes": with_holes(normal(2000, 2.0, seed=9), 3),
    "mostly holes": torch.cat((torch.full((500,), -INF), torch.tensor([1.0, 2.0, 1.0]))),
    "as wide as float32": torch.tensor([3e38, 1e38, -3e38, 0.0]),
    "whole vocabulary": normal(100_277, 1.5, seed=10),
}
TEMPERATURES = [1e-4, 0.01, 0.5, 1.0, 1.7, 50.0, 1e6]


@cache
def in_order(logits: Tensor) -> list[int]:
    """Every id, likeliest first, equal ones by id. (Tensors are keys by what they are, not by what they hold.)"""
    values = logits.tolist()
    return sorted(range(len(values)), key=lambda id: (-values[id], id))


@dataclass
class Reference:
    """A naive sampler in float64, from logits to the distribution that is drawn from."""

    order: list[int]
    tempered: Tensor
    """[V], in the order."""
    through: Tensor
    """[V], their cumulative sum."""

    def in_ids(self) -> Tensor:
        """[V], in the order of the ids."""
        found = torch.empty_like(self.tempered)
        found[self.order] = self.tempered
        return found

    def mass(self, count: int) -> float:
        """The mass of the first `count` tokens."""
        return self.through[count - 1].item() if count else 0.0


@cache
def reference(logits: Tensor, temperature: float = 1.0) -> Reference:
    order = in_order(logits)
    exact = logits.double()[order]
    if temperature == 0:
        tempered = torch.zeros_like(exact)
        tempered[0] = 1
    else:
        tempered = torch.exp((exact - exact[0]) / temperature)
        tempered /= tempered.sum()
    return Reference(order, tempered, tempered.cumsum(0))
