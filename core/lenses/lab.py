"""Owns small experiments that show one idea each: activations, lookup, norms, averaging, a training batch."""

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

from core.config import Activation, Sampler
from core.data import REFERENCE, SequenceDataset
from core.divergence import kl
from core.engine.packed.linear import matrix
from core.errors import Mistake
from core.events import Chart, Reading
from core.model import Transformer, activation
from core.sampling import Distribution, chart
from core.trace import Step, Trace, follow

SWITCHED = 512
"""Tokens that are read with another activation at most."""
REACH, STEPS = 4, 10
"""Curves run from -4 to 4, ten points to each unit."""
FEW = 6
"""Positions of the averaging."""
COLUMNS = 64
"""Of the embedding, that are looked up and multiplied."""
BATCH, STRIDE = 5, 1
"""Sequences of the training batch and how far apart they begin (S3)."""


@dataclass(frozen=True, slots=True)
class Curve:
    """An activation, drawn."""

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Switch:
    """What the model would say with another activation and the same weights (S16)."""

    xs: tuple[float, ...]
    curves: tuple[Curve, ...]
    """GELU, ReLU and, where it is neither, the model's own."""
    own: Activation
    other: Activation
    before: Chart
    after: Chart
    kl: float
    """KL(before ‖ after), nats."""
    note: str
    """What was left out; empty where nothing was."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """`nn.Embedding` beside `nn.Linear` on one-hot vectors, over the same table (S15)."""

    pieces: tuple[bytes, ...]
    """The tokens that are looked up, [n]."""
    rows: int
    """Of the table, V."""
    columns: int
    """Of the table, as far as it was used."""
    difference: float
    """Largest difference between the two outputs."""
    lookup_seconds: float
    product_seconds: float
    lookup_rows: tuple[int, ...]
    """Ids whose row of the embedding's gradient is not zero."""
    product_rows: tuple[int, ...]
    """The same for the linear map, whose columns they are."""


@dataclass(frozen=True, slots=True)
class Normed:
    """The last state before and after a norm."""

    name: str
    """What normed it: the model's final norm, or a plain layer norm where the model has none."""
    own: bool
    """Whether the model has it."""
    before: tuple[float, ...]
    after: tuple[float, ...]
    """All d numbers, before and after."""
    mean_before: float
    std_before: float
    mean_after: float
    std_after: float


@dataclass(frozen=True, slots=True)
class Averaging:
    """Averaging the past and ignoring the future as one product with a triangular matrix."""

    pieces: tuple[bytes, ...]
    """The positions, [n]."""
    seen: tuple[tuple[bool, ...], ...]
    """The causal mask: whether the row's position may look at the column's, [n][n]."""
    weights: tuple[tuple[float, ...], ...]
    """The triangle over its row sums; it is softmax of 0 where a position may look and -inf elsewhere, [n][n]."""
    before: tuple[tuple[float, ...], ...]
    """The first numbers of each position's embedding, [n][4]."""
    after: tuple[tuple[float, ...], ...]
    """`weights` times `before`: row i is the mean of rows 0 to i, [n][4]."""
    difference: float
    """Largest difference from the means taken one by one."""


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Sequences of a text beside the same shifted by one (S5)."""

    inputs: tuple[tuple[int, ...], ...]
    """[B][T]."""
    targets: tuple[tuple[int, ...], ...]
    """[B][T]; each is the token after the input at its place."""
    input_pieces: tuple[tuple[bytes, ...], ...]
    target_pieces: tuple[tuple[bytes, ...], ...]
    stride: int
    loss: float
    """Of the model on this batch, nats per token."""
    ln_v: float
    """The loss of guessing evenly among all V tokens (S11)."""


@dataclass(frozen=True, slots=True)
class Lab:
    """All experiments; each is None until it is done."""

    averaging: Averaging | None = None
    norm: Normed | None = None
    batch: TrainingBatch | None = None
    lookup: Lookup | None = None
    switch: Switch | None = None


@torch.inference_mode()
def lab(step: Step, other: Activation | None = None, count: int = 10) -> Iterator[Reading | Lab]:
    """Every experiment, the quick ones first. `other` is the activation to switch to: ReLU, or GELU where it is ReLU.

    Raises `Mistake` where it is the model's own, or none.
    """
    own = step.model.transformer.config.activation
    other = other or ("gelu" if own == "relu" else "relu")
    replace(step.model.transformer.config, activation=other)
    if other == own:
        raise Mistake(f"{step.model.info.name} computes with {own} already; choose another activation")
    done = Lab()
    trace = yield from follow(step)
    done = replace(done, averaging=_average(step))
    yield done
    done = replace(done, norm=_norm(step.model.transformer, trace))
    yield done
    done = replace(done, batch=_batch(step))
    yield done
    done = replace(done, lookup=_look_up(step))
    yield done
    switch = yield from _switch(step, own, other, trace, count)
    yield replace(done, switch=switch)


# Activations ---------------------------------------------------------------------------------------------------------


def _switch(
    step: Step, own: Activation, other: Activation, trace: Trace, count: int
) -> Generator[Reading, None, Switch]:
    transformer, piece = step.model.transformer, step.model.tokenizer.piece
    note = f"read by the last {SWITCHED} tokens alone" if len(step.ids) > SWITCHED else ""
    few = replace(step, ids=step.ids[-SWITCHED:], past=None)
    unchanged = (yield from follow(few)).logits if note else trace.logits
    changed = (yield from _under(partial(switched, transformer, other), follow(few))).logits
    xs = torch.arange(-REACH * STEPS, REACH * STEPS + 1) / STEPS
    named: tuple[Activation, ...] = tuple(dict.fromkeys(("gelu", "relu", own, other)))
    curves = tuple(Curve(name, tuple(_function(transformer, name)(xs).tolist())) for name in named)
    charts = [chart(Distribution(row), Sampler(), count, piece, step.target) for row in (unchanged, changed)]
    return Switch(tuple(xs.tolist()), curves, own, other, charts[0], charts[1], kl(unchanged, changed), note)


def _function(transformer: Transformer, name: Activation) -> nn.Module:
    return activation(replace(transformer.config, activation=name))


@contextmanager
def switched(transformer: Transformer, other: Activation) -> Iterator[None]:
    """The model with another activation wherever it has one, within the block."""
    config, function = transformer.config, _function(transformer, other)
    inside = "feed_forward.activation.activation" if config.gated else "feed_forward.activation"
    names = [f"blocks.{n}.{inside}" for n in range(config.blocks)] if config.feed_forward else []
    names += ["activation"] if config.final_activation else []
    hooks = [
        transformer.get_submodule(name).register_forward_hook(lambda _, took, gave: function(took[0])) for name in names
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _under(
    condition: Callable[[], AbstractContextManager[None]], work: Generator[Reading, None, Trace]
) -> Generator[Reading, None, Trace]:
    """Let `work` go on under a condition that does not hold while it pauses."""
    while True:
        try:
            with condition():
                reading = next(work)
        except StopIteration as end:
            return end.value
        yield reading


# Lookup and product --------------------------------------------------------------------------------------------------


def _look_up(step: Step) -> Lookup:
    table = _table(step.model.transformer)
    ids = torch.tensor(step.ids[-8:])
    with torch.inference_mode(mode=False), torch.enable_grad():
        ids, table = ids.clone(), table.clone()
        embedding = nn.Embedding.from_pretrained(table, freeze=False)
        linear = nn.Linear(len(table), table.shape[1], bias=False)
        linear.weight = nn.Parameter(table.T)
        hot = F.one_hot(ids, len(table)).float()
        looked_up, product = embedding(ids), linear(hot)
        looked_up.sum().backward()
        product.sum().backward()
        assert embedding.weight.grad is not None
        assert linear.weight.grad is not None
        gradients = embedding.weight.grad, linear.weight.grad.T
    return Lookup(
        pieces=step.pieces[-8:],
        rows=len(table),
        columns=table.shape[1],
        difference=(looked_up - product).abs().max().item(),
        lookup_seconds=_seconds(lambda: embedding(ids)),
        product_seconds=_seconds(lambda: linear(hot)),
        lookup_rows=_not_zero(gradients[0]),
        product_rows=_not_zero(gradients[1]),
    )


def _table(transformer: Transformer) -> Tensor:
    """The first columns of the embedding, [V, at most COLUMNS], float32 on the CPU."""
    rows = 16_384
    parts = [
        matrix(transformer.embed, first, first + rows)[:, :COLUMNS].clone()
        for first in range(0, transformer.config.vocab_size, rows)
    ]
    return torch.cat(parts)


def _not_zero(gradient: Tensor) -> tuple[int, ...]:
    return tuple(gradient.abs().amax(1).nonzero()[:, 0].tolist())


def _seconds(run: Callable[[], object]) -> float:
    """The median of a few runs."""
    spent = []
    for _ in range(5):
        began = time.perf_counter()
        run()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


# Norm, averaging, batch ----------------------------------------------------------------------------------------------


def _norm(transformer: Transformer, trace: Trace) -> Normed:
    before, own = trace.entered("norm"), transformer.config.norm != "none"
    after = trace.last("norm") if own else F.layer_norm(before, before.shape)
    names = {"none": "a plain layer norm", "layer": "the final layer norm", "rms": "the final RMSNorm"}
    return Normed(
        names[transformer.config.norm],
        own,
        tuple(before.tolist()),
        tuple(after.tolist()),
        before.mean().item(),
        before.std(correction=0).item(),
        after.mean().item(),
        after.std(correction=0).item(),
    )


def _average(step: Step) -> Averaging:
    ids = step.ids[-FEW:]
    transformer, n = step.model.transformer, len(ids)
    x = transformer.embed(torch.tensor([ids], device=transformer.device))[0, :, :4].float().cpu()
    triangle = torch.ones(n, n).tril()
    weights = triangle / triangle.sum(1, keepdim=True)
    mask = torch.zeros(n, n).masked_fill(triangle == 0, -math.inf)
    after = weights @ x
    one_by_one = torch.stack([x[: i + 1].mean(0) for i in range(n)])
    difference = max((after - one_by_one).abs().max().item(), (mask.softmax(-1) - weights).abs().max().item())
    return Averaging(step.pieces[-FEW:], _rows(triangle > 0), _rows(weights), _rows(x), _rows(after), difference)


def _rows(values: Tensor) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(row) for row in values.tolist())


def _batch(step: Step) -> TrainingBatch:
    model = step.model
    length = min(model.info.context, 8)
    inputs, targets = SequenceDataset(model.tokenizer.encode(REFERENCE), length, STRIDE).batch(0, BATCH)
    logits = model.transformer(inputs.to(model.transformer.device)).float().cpu()
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten()).item()

    def pieces(rows: Sequence[Sequence[int]]) -> tuple[tuple[bytes, ...], ...]:
        return tuple(tuple(map(model.tokenizer.piece, row)) for row in rows)

    ids, after = inputs.tolist(), targets.tolist()
    return TrainingBatch(
        inputs=tuple(map(tuple, ids)),
        targets=tuple(map(tuple, after)),
        input_pieces=pieces(ids),
        target_pieces=pieces(after),
        stride=STRIDE,
        loss=loss,
        ln_v=math.log(model.info.vocab_size),
    )
