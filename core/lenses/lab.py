"""Five small experiments, one idea each: averaging the past, a norm, a training batch, lookup, activations."""

import math
import statistics
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.activations.trace import Step, Trace, trace_step
from core.engine.activation import Activation
from core.engine.hooks import ForwardHooks
from core.engine.model import Transformer
from core.engine.packed.linear import matrix
from core.engine.parts import activation
from core.errors import UserError
from core.language import _
from core.progress import Progress
from core.sampling.chart import chart
from core.sampling.distribution import Distribution
from core.sampling.divergence import kl_bits
from core.sampling.sampler import Sampler
from core.sampling.values import Chart
from core.training.dataset import REFERENCE, SequenceDataset

SWITCH_TOKENS = 512
"""Tokens that are read with another activation function, the last ones."""
CURVE_LIMIT, POINTS_PER_UNIT = 4, 10
"""Curves run from -4 to 4 with ten points a unit."""
AVERAGED = 6
"""Positions of the averaging experiment, the last ones."""
LOOKED_UP = 8
"""Tokens of the lookup experiment, the last ones."""
COLUMNS = 64
"""Columns of the embedding that the lookup experiment uses, the first ones."""
BATCH, LENGTH, STRIDE = 5, 8, 1
"""The article's training batch: sequences, tokens in each, tokens between their beginnings."""


@dataclass(frozen=True, slots=True)
class ActivationCurve:
    """The values of one activation function."""

    name: str
    values: tuple[float, ...]
    """At each x of the switch."""


@dataclass(frozen=True, slots=True)
class ActivationSwitch:
    """The prediction with another activation function and the same weights."""

    xs: tuple[float, ...]
    curves: tuple[ActivationCurve, ...]
    """GELU, ReLU, and the model's own and the other function where they are neither."""
    own: Activation
    other: Activation
    before: Chart
    """With the model's own function."""
    after: Chart
    """With the other function."""
    kl_bits: float
    """KL(before ‖ after), in bits."""
    note: str
    """What was left out; empty where nothing was."""


@dataclass(frozen=True, slots=True)
class EmbeddingLookup:
    """`nn.Embedding` beside `nn.Linear` on one-hot vectors, with the same table."""

    pieces: tuple[bytes, ...]
    """The tokens that are looked up, [n]."""
    rows: int
    """Rows of the table, V."""
    columns: int
    """Columns of the table that were used."""
    difference: float
    """Largest difference between the two outputs."""
    lookup_seconds: float
    product_seconds: float
    lookup_rows: tuple[int, ...]
    """Ids whose row in the gradient of `nn.Embedding` is not zero."""
    product_rows: tuple[int, ...]
    """Ids whose column in the gradient of `nn.Linear` is not zero."""


@dataclass(frozen=True, slots=True)
class NormEffect:
    """The last hidden state before and after a norm."""

    name: str
    """The norm: the model's final norm, or a plain layer norm where the model has none."""
    own: bool
    """Whether the model has this norm."""
    before: tuple[float, ...]
    """[d]."""
    after: tuple[float, ...]
    """[d]."""
    mean_before: float
    std_before: float
    mean_after: float
    std_after: float


@dataclass(frozen=True, slots=True)
class CausalAverage:
    """The mean over each position and the ones before it, as a product with a lower triangular matrix."""

    pieces: tuple[bytes, ...]
    """The tokens of the positions, [n]."""
    seen: tuple[tuple[bool, ...], ...]
    """The causal mask: whether the row's position sees the column's, [n][n]."""
    weights: tuple[tuple[float, ...], ...]
    """The triangle divided by its row sums, which is softmax of 0 where `seen` and -∞ elsewhere, [n][n]."""
    before: tuple[tuple[float, ...], ...]
    """The first numbers of each position's embedding, [n][4]."""
    after: tuple[tuple[float, ...], ...]
    """`weights` times `before`: row i is the mean of rows 0 to i, [n][4]."""
    difference: float
    """Largest difference from the means computed row by row, and of `weights` from the softmax."""


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Sequences of a text, and the same shifted by one token as targets."""

    inputs: tuple[tuple[int, ...], ...]
    """[B][T]."""
    targets: tuple[tuple[int, ...], ...]
    """[B][T]; each is the token after the input at its position."""
    input_pieces: tuple[tuple[bytes, ...], ...]
    target_pieces: tuple[tuple[bytes, ...], ...]
    stride: int
    """Tokens between the beginnings of two sequences."""
    loss: float
    """Of the model on this batch, nats a token."""
    ln_v: float
    """ln V, nats a token: the loss of a uniform distribution over all V tokens."""


@dataclass(frozen=True, slots=True)
class Lab:
    """All experiments; each is None until it is done."""

    averaging: CausalAverage | None = None
    norm: NormEffect | None = None
    batch: TrainingBatch | None = None
    lookup: EmbeddingLookup | None = None
    switch: ActivationSwitch | None = None


@torch.inference_mode()
def lab(step: Step, other: Activation | None = None, count: int = 10) -> Iterator[Progress | Lab]:
    """All experiments, the quick ones first, each answer with one more of them.

    `other` is the activation function to switch to; None is ReLU, or GELU where the model has ReLU. Raises `UserError`
    where it is the model's own, or no activation function.
    """
    own = step.model.transformer.config.activation
    other = other or ("gelu" if own == "relu" else "relu")
    replace(step.model.transformer.config, activation=other)  # raises for an unknown name
    if other == own:
        raise UserError(
            _("{name} uses the activation function {own} already; choose another"), name=step.model.info.name, own=own
        )
    trace = yield from trace_step(step)
    answer = Lab(averaging=_causal_average(step))
    yield answer
    answer = replace(answer, norm=_norm_effect(step.model.transformer, trace))
    yield answer
    answer = replace(answer, batch=_training_batch(step))
    yield answer
    answer = replace(answer, lookup=_embedding_lookup(step))
    yield answer
    switch = yield from _activation_switch(step, own, other, trace, count)
    yield replace(answer, switch=switch)


# Activation functions ------------------------------------------------------------------------------------------------


def _activation_switch(
    step: Step, own: Activation, other: Activation, trace: Trace, count: int
) -> Generator[Progress, None, ActivationSwitch]:
    transformer, piece = step.model.transformer, step.model.tokenizer.piece
    note = (
        _("only the last {switch_tokens} tokens are read").format(switch_tokens=SWITCH_TOKENS)
        if len(step.ids) > SWITCH_TOKENS
        else ""
    )
    shorter = replace(step, ids=step.ids[-SWITCH_TOKENS:], cache=None)
    before = (yield from trace_step(shorter)).logits if note else trace.logits
    after = (yield from _except_at_pauses(partial(switched, transformer, other), trace_step(shorter))).logits
    xs = torch.arange(-CURVE_LIMIT * POINTS_PER_UNIT, CURVE_LIMIT * POINTS_PER_UNIT + 1) / POINTS_PER_UNIT
    names: tuple[Activation, ...] = tuple(dict.fromkeys(("gelu", "relu", own, other)))
    charts = [chart(Distribution(logits), Sampler(), count, piece, step.target) for logits in (before, after)]
    return ActivationSwitch(
        xs=tuple(xs.tolist()),
        curves=tuple(ActivationCurve(name, tuple(_function(transformer, name)(xs).tolist())) for name in names),
        own=own,
        other=other,
        before=charts[0],
        after=charts[1],
        kl_bits=kl_bits(before, after),
        note=note,
    )


def _function(transformer: Transformer, name: Activation) -> nn.Module:
    return activation(replace(transformer.config, activation=name))


@contextmanager
def switched(transformer: Transformer, other: Activation) -> Iterator[None]:
    """Within the block the model computes with another activation function, wherever it has one."""
    config, function = transformer.config, _function(transformer, other)
    ending = ".activation.activation" if config.gated else ".activation"  # also of each expert
    modules = [module for name, module in transformer.named_modules() if name.endswith(ending)]
    modules += [transformer.activation] if config.final_activation else []
    with ForwardHooks() as hooks:
        for module in modules:
            hooks.after(module, lambda _, inputs, output: function(inputs[0]))
        yield


def _except_at_pauses(
    condition: Callable[[], AbstractContextManager[None]], work: Generator[Progress, None, Trace]
) -> Generator[Progress, None, Trace]:
    """Run `work` under a condition that does not hold while the generator is paused."""
    while True:
        try:
            with condition():
                progress = next(work)
        except StopIteration as end:
            return end.value
        yield progress


# Lookup and product --------------------------------------------------------------------------------------------------


def _embedding_lookup(step: Step) -> EmbeddingLookup:
    table = _first_columns(step.model.transformer)
    ids = torch.tensor(step.ids[-LOOKED_UP:])
    with torch.inference_mode(mode=False), torch.enable_grad():
        ids, table = ids.clone(), table.clone()
        embedding = nn.Embedding.from_pretrained(table, freeze=False)
        linear = nn.Linear(len(table), table.shape[1], bias=False)
        linear.weight = nn.Parameter(table.T)
        one_hot = F.one_hot(ids, len(table)).float()
        looked_up, product = embedding(ids), linear(one_hot)
        looked_up.sum().backward()
        product.sum().backward()
        assert embedding.weight.grad is not None
        assert linear.weight.grad is not None
        gradients = embedding.weight.grad, linear.weight.grad.T
    return EmbeddingLookup(
        pieces=step.pieces[-LOOKED_UP:],
        rows=len(table),
        columns=table.shape[1],
        difference=(looked_up - product).abs().max().item(),
        lookup_seconds=_seconds(lambda: embedding(ids)),
        product_seconds=_seconds(lambda: linear(one_hot)),
        lookup_rows=_nonzero_rows(gradients[0]),
        product_rows=_nonzero_rows(gradients[1]),
    )


def _first_columns(transformer: Transformer) -> Tensor:
    """The first columns of the embedding, [V, at most COLUMNS], float32 on the CPU."""
    rows = 16_384  # dequantized at once
    parts = [
        matrix(transformer.embed, first, first + rows)[:, :COLUMNS].clone()
        for first in range(0, transformer.config.vocab_size, rows)
    ]
    return torch.cat(parts)


def _nonzero_rows(gradient: Tensor) -> tuple[int, ...]:
    return tuple(gradient.abs().amax(1).nonzero()[:, 0].tolist())


def _seconds(run: Callable[[], object]) -> float:
    """The median of five runs, in seconds."""
    spent = []
    for _unused in range(5):
        began = time.perf_counter()
        run()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


# Norm, averaging, batch ----------------------------------------------------------------------------------------------


def _norm_effect(transformer: Transformer, trace: Trace) -> NormEffect:
    before, own = trace.last_input("norm"), transformer.config.norm != "none"
    after = trace.last_output("norm") if own else F.layer_norm(before, before.shape)
    names = {"none": _("a plain layer norm"), "layer": _("the final layer norm"), "rms": _("the final RMSNorm")}
    return NormEffect(
        name=names[transformer.config.norm],
        own=own,
        before=tuple(before.tolist()),
        after=tuple(after.tolist()),
        mean_before=before.mean().item(),
        std_before=before.std(correction=0).item(),
        mean_after=after.mean().item(),
        std_after=after.std(correction=0).item(),
    )


def _causal_average(step: Step) -> CausalAverage:
    ids = step.ids[-AVERAGED:]
    transformer, n = step.model.transformer, len(ids)
    x = transformer.embed(torch.tensor([ids], device=transformer.device))[0, :, :4].float().cpu()
    triangle = torch.ones(n, n).tril()
    weights = triangle / triangle.sum(1, keepdim=True)
    mask = torch.zeros(n, n).masked_fill(triangle == 0, -math.inf)
    after = weights @ x
    row_by_row = torch.stack([x[: i + 1].mean(0) for i in range(n)])
    difference = max((after - row_by_row).abs().max().item(), (mask.softmax(-1) - weights).abs().max().item())
    return CausalAverage(
        pieces=step.pieces[-AVERAGED:],
        seen=_rows(triangle > 0),
        weights=_rows(weights),
        before=_rows(x),
        after=_rows(after),
        difference=difference,
    )


def _rows(values: Tensor) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(row) for row in values.tolist())


def _training_batch(step: Step) -> TrainingBatch:
    model = step.model
    length = min(model.info.context, LENGTH)
    inputs, targets = SequenceDataset(model.tokenizer.encode(REFERENCE), length, STRIDE).batch(0, BATCH)
    logits = model.transformer(inputs.to(model.transformer.device)).float().cpu()
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten()).item()

    def pieces(rows: Sequence[Sequence[int]]) -> tuple[tuple[bytes, ...], ...]:
        return tuple(tuple(map(model.tokenizer.piece, row)) for row in rows)

    input_ids, target_ids = inputs.tolist(), targets.tolist()
    return TrainingBatch(
        inputs=tuple(map(tuple, input_ids)),
        targets=tuple(map(tuple, target_ids)),
        input_pieces=pieces(input_ids),
        target_pieces=pieces(target_ids),
        stride=STRIDE,
        loss=loss,
        ln_v=math.log(model.info.vocab_size),
    )
