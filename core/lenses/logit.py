"""The logit lens: the model's prediction if it ended after each sublayer (nostalgebraist 2020)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from core.activations.trace import Step, logits_from_residual, residual_stream, trace_step
from core.progress import Progress
from core.sampling.bounds import Bounded
from core.sampling.chart import chart
from core.sampling.distribution import Distribution
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate

ROWS = 16
"""Sublayers whose logits are in memory at the same time."""


@dataclass(frozen=True, slots=True)
class LayerPrediction:
    """The distribution of the next token as read from the residual stream after one sublayer."""

    name: str
    """`embedding`, `block 0 attention`, `block 0 mlp` … and last `output`, the model's own prediction."""
    block: int | None
    """Counted from 0; None for the embedding and the output."""
    top: tuple[Candidate, ...]
    """Likeliest first."""
    target: Candidate
    """The token that is followed from layer to layer, with its rank and probability here."""
    entropy_bits: Bounded


@dataclass(frozen=True, slots=True)
class LogitLens:
    """The predictions from the embedding to the model's own output."""

    layers: tuple[LayerPrediction, ...]
    """Of the sublayers computed so far; complete when the last is `output`."""
    target_came: bool
    """Whether the target came next in the walk; otherwise it is the argmax of the output."""
    locks_in: int | None
    """Index of the first layer from which on the argmax is that of the output; None until complete."""


@torch.inference_mode()
def logit(step: Step, count: int = 10) -> Iterator[Progress | LogitLens]:
    """The `count` likeliest tokens after every sublayer, read through the final norm and the unembedding."""
    transformer, piece = step.model.transformer, step.model.tokenizer.piece
    trace = yield from trace_step(step)
    output = Distribution(trace.logits)
    target = output.argmax if step.target is None else step.target

    def prediction(name: str, block: int | None, distribution: Distribution) -> LayerPrediction:
        likeliest = chart(distribution, Sampler(), count, piece, target)
        assert likeliest.taken
        return LayerPrediction(name, block, likeliest.candidates, likeliest.taken, likeliest.entropy_bits)

    states = residual_stream(transformer, trace)
    layers: list[LayerPrediction] = []
    for first in range(0, len(states), ROWS):
        chunk = states[first : first + ROWS]
        logits = logits_from_residual(transformer, torch.stack([each.state for each in chunk]))
        for each, row in zip(chunk, logits, strict=True):
            layers.append(prediction(each.name, each.block, Distribution(row)))
        yield LogitLens(tuple(layers), step.target is not None, None)
    layers.append(prediction("output", None, output))
    yield LogitLens(tuple(layers), step.target is not None, locked_in(layers))


def locked_in(layers: list[LayerPrediction]) -> int:
    """Index of the first layer from which on the argmax is that of the last layer."""
    final = layers[-1].top[0].id
    others = [n for n, layer in enumerate(layers) if layer.top[0].id != final]
    return others[-1] + 1 if others else 0
