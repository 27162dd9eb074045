"""Owns the logit lens: what the model would say if it stopped after each sublayer (nostalgebraist 2020)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from core.activations.trace import Step, readout, stream, trace_step
from core.progress import Progress
from core.sampling.chart import chart
from core.sampling.distribution import Distribution
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate

ROWS = 16
"""Layers whose logits are held at the same time."""


@dataclass(frozen=True, slots=True)
class Layer:
    """The distribution after one sublayer."""

    name: str
    """`embedding`, `block 0 attention`, `block 0 mlp` … and last `output`, the model's own."""
    block: int | None
    """Counted from 0; None for the embedding and the output."""
    top: tuple[Candidate, ...]
    """Likeliest first."""
    target: Candidate
    """The token that is followed through depth: its rank and probability here."""
    entropy_bits: float


@dataclass(frozen=True, slots=True)
class LogitLens:
    """Every layer from the embedding to the model's own output."""

    layers: tuple[Layer, ...]
    """As far as read; whole when the last is `output`."""
    target_came: bool
    """Whether the followed token came next in the walk; else it is the model's favourite."""
    locks_in: int | None
    """The first layer from which on the favourite stays what it is at the output; None until whole."""


@torch.inference_mode()
def logit(step: Step, count: int = 10) -> Iterator[Progress | LogitLens]:
    """The `count` likeliest tokens after every sublayer, under the final norm of that very position."""
    transformer, piece = step.model.transformer, step.model.tokenizer.piece
    trace = yield from trace_step(step)
    output = Distribution(trace.logits)
    target = output.argmax if step.target is None else step.target

    def layer(name: str, block: int | None, distribution: Distribution) -> Layer:
        seen = chart(distribution, Sampler(), count, piece, target)
        assert seen.taken
        return Layer(name, block, seen.candidates, seen.taken, seen.entropy_bits)

    halves = stream(transformer, trace)
    layers: list[Layer] = []
    for first in range(0, len(halves), ROWS):
        some = halves[first : first + ROWS]
        for half, row in zip(some, readout(transformer, torch.stack([half.state for half in some])), strict=True):
            layers.append(layer(half.name, half.block, Distribution(row)))
        yield LogitLens(tuple(layers), step.target is not None, None)
    layers.append(layer("output", None, output))
    yield LogitLens(tuple(layers), step.target is not None, locked_in(layers))


def locked_in(layers: list[Layer]) -> int:
    """The first layer from which on the favourite is the last one's."""
    answer = layers[-1].top[0].id
    changes = [n for n, layer in enumerate(layers) if layer.top[0].id != answer]
    return changes[-1] + 1 if changes else 0
