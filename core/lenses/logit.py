"""The logit lens: the model's prediction if it ended after each sublayer (nostalgebraist 2020)."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from core.activations.trace import (
    Step,
    logits_from_residual,
    require_finite,
    residual_stream,
    residual_streams,
    trace_step,
)
from core.causal.question import CausalQuestion
from core.causal.target import Target
from core.progress import Progress
from core.sampling.bounds import Bounded, low
from core.sampling.chart import chart
from core.sampling.distribution import Distribution
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate

ROWS = 16
"""Sublayers, or positions of a layer, whose logits are in memory at the same time."""
LOWEST = -1e9
"""A logit of -∞ counts as this one, so that 0 · -∞ is 0."""
TOP = 5
"""Tokens that a cell of the map lists."""


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
class TokenShare:
    """A token and its probability."""

    id: int
    piece: bytes
    probability: float


@dataclass(frozen=True, slots=True)
class MapCell:
    """The distribution of the next token as read from the residual stream after one block at one position."""

    top: tuple[TokenShare, ...]
    """Likeliest first."""
    entropy_bits: float
    kl_bits: float
    """KL(the model's own distribution at this position ‖ this one), in bits; 0 at the last layer."""
    target_probability: float
    target_rank: int
    """How many tokens are likelier than the target."""
    difference: float
    """logit[target] - logit[against], in nats."""


@dataclass(frozen=True, slots=True)
class LogitMap:
    """The predictions after the embedding and after each block, at every position."""

    start: int
    """The position, in the model's window, of the first column."""
    pieces: tuple[bytes, ...]
    """The token at the position of each column, whose next token is predicted."""
    names: tuple[str, ...]
    """One a row: `embedding`, `block 0` …; the last row equals the model's own output."""
    target: TokenShare
    """The token that every cell has the probability and rank of; its own probability is that after the last position.
    """
    against: TokenShare
    """The token that the target's logit is compared with."""
    rows: tuple[tuple[MapCell, ...], ...]
    """From the embedding to the last block; a row that is not computed yet is empty."""


@dataclass(frozen=True, slots=True)
class LogitLens:
    """The predictions from the embedding to the model's own output."""

    layers: tuple[LayerPrediction, ...]
    """Of the sublayers computed so far; complete when the last is `output`."""
    target_came: bool
    """Whether the target came next in the walk; otherwise it is the argmax of the output."""
    locks_in: int | None
    """Index of the first layer from which on the argmax is that of the output; None until complete."""
    map: LogitMap | None = field(default=None, kw_only=True)
    """The same at the last positions; None where it is not asked for."""


@torch.inference_mode()
def logit(
    step: Step, count: int = 10, last: int = 0, asked: CausalQuestion = CausalQuestion()
) -> Iterator[Progress | LogitLens]:
    """The `count` likeliest tokens after every sublayer, read through the final norm and the unembedding.

    Then a map of the `last` positions, which follows the two tokens of the question `asked`; where it does not say
    which, the target of the step and the likeliest other token.
    """
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
    answer = LogitLens(tuple(layers), step.target is not None, locked_in(layers))
    yield answer
    if last:
        followed = target if asked.target is None and asked.against != target else asked.target
        question = replace(asked, target=followed, measure="difference")
        for drawn in logit_map(step, last, question.target_at(output.logits)):
            yield drawn if isinstance(drawn, Progress) else replace(answer, map=drawn)


def locked_in(layers: list[LayerPrediction]) -> int:
    """Index of the first layer from which on the argmax is that of the last layer."""
    final = layers[-1].top[0].id
    others = [n for n, layer in enumerate(layers) if layer.top[0].id != final]
    return others[-1] + 1 if others else 0


# The map of layers and positions -------------------------------------------------------------------------------------


@torch.inference_mode()
def logit_map(step: Step, last: int, target: Target) -> Iterator[Progress | LogitMap]:
    """The prediction after the embedding and after each block at the `last` positions, from the last layer down."""
    transformer, piece = step.model.transformer, step.model.tokenizer.piece
    streams = yield from residual_streams(step, last)
    layers, columns = streams.shape[:2]
    against = target.id if target.against is None else target.against
    rows: list[tuple[MapCell, ...]] = [() for _ in range(layers)]
    outputs: list[Outputs] = []
    for layer in reversed(range(layers)):
        cells: list[MapCell] = []
        for chunk, states in enumerate(streams[layer].split(ROWS)):
            logits = logits_from_residual(transformer, states).cpu()
            if layer == layers - 1:
                require_finite("unembed", logits)
                outputs.append(Outputs(logits))
            distributions = [Distribution(row) for row in logits]
            divergences = outputs[chunk].kl_bits(logits, distributions)
            cells += [read_cell(*each, target, piece) for each in zip(distributions, divergences, strict=True)]
            yield Progress((layers - layer - 1) * columns + len(cells), layers * columns)
        rows[layer] = tuple(cells)
        yield LogitMap(
            start=len(step.ids) - columns,
            pieces=step.pieces[-columns:],
            names=("embedding", *(f"block {n}" for n in range(layers - 1))),
            target=_share(target.id, piece, outputs[-1].probabilities[-1]),
            against=_share(against, piece, outputs[-1].probabilities[-1]),
            rows=tuple(rows),
        )


class Outputs:
    """The model's own distributions at some positions, with which those of other layers are compared."""

    def __init__(self, logits: Tensor) -> None:
        self.probabilities = logits.double().softmax(-1)
        """[n, V], float64."""
        self._entropies = torch.special.entr(self.probabilities).sum(-1)

    def kl_bits(self, logits: Tensor, distributions: list[Distribution]) -> list[float]:
        """KL(own ‖ other) at each position, in bits: ln Z - Σ p x - H, with the other's logits x [n, V] and their Z."""
        means = torch.linalg.vecdot(self.probabilities, logits.double().clamp(min=LOWEST))
        totals = torch.tensor([each.log_total for each in distributions], dtype=torch.float64)
        return ((totals - means - self._entropies).clamp(min=0) / math.log(2)).tolist()


def _share(id: int, piece: Callable[[int], bytes], probabilities: Tensor) -> TokenShare:
    return TokenShare(id, piece(id), float(probabilities[id]))


def read_cell(distribution: Distribution, kl: float, target: Target, piece: Callable[[int], bytes]) -> MapCell:
    """A distribution as a cell: `kl` is its divergence from the output in bits, `target` has two tokens or one."""
    score = distribution.score(target.id)
    return MapCell(
        top=tuple(TokenShare(id, piece(id), float(distribution.shares[id])) for id in distribution.head(TOP).tolist()),
        entropy_bits=distribution.entropy_bits,
        kl_bits=kl,
        target_probability=low(score.probability),  # a model on this machine: no number is bounds
        target_rank=int(low(score.rank)),
        difference=low(score.logit)
        - float(distribution.scores[target.id if target.against is None else target.against]),
    )
