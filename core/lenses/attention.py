"""Owns what attention looks at: every head at the last position, and the pattern of one head as far as it is shown.

Never all T × T × layers × heads: earlier rows are computed for the one layer, and the positions, that are asked for.
"""

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from core.activations.trace import READ_AT_ONCE, Step, fill_cache, fresh_past, ids_of, recording, trace_step
from core.engine.cache import KVCache
from core.errors import UserError
from core.progress import Progress

SHOWN = 64
"""Positions of the pattern, the last ones."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where the last position looks in one head."""

    entropy_bits: float
    """Of its row: 0 looks at one position, log2 T at all alike."""
    peak: int
    """The position it looks at most."""
    peak_weight: float
    first: float
    """Weight on the first position, where heads that have nothing to do tend to rest."""
    own: float
    """Weight on the last position itself."""


@dataclass(frozen=True, slots=True)
class AttentionView:
    """One head in full and all heads in brief."""

    layer: int
    """The chosen one, from 0."""
    head: int
    """The chosen one, from 0."""
    pieces: tuple[bytes, ...]
    """The tokens of all T positions."""
    row: tuple[float, ...]
    """Weights of the last position in the chosen head on all T positions; they sum to 1."""
    heads: tuple[tuple[Head, ...], ...]
    """[layers][heads]."""
    difference: float
    """Largest |softmax(q kᵀ/√c) v − SDPA| of the chosen layer at the last position."""
    start: int
    """The first position of the pattern."""
    pattern: tuple[tuple[float, ...], ...]
    """Row r is the position `start` + r, its weights on `start` … `start` + r: the mask is what is not there.

    Empty until computed.
    """
    before: tuple[float, ...]
    """Weight of each row of the pattern on the positions before `start`."""
    note: str
    """What was left out; empty where nothing was."""


@torch.inference_mode()
def attention(step: Step, layer: int = 0, head: int = 0, shown: int = SHOWN) -> Iterator[Progress | AttentionView]:
    """The rows of the last position first, then the pattern of the last `shown` positions in one head.

    Raises `UserError` for a model without attention, and for a layer or head it does not have.
    """
    config = step.model.transformer.config
    if not config.blocks:
        raise UserError(f"{step.model.info.name} has no attention; it begins at model3")
    for what, value, count in (("layer", layer, config.blocks), ("head", head, config.heads)):
        if not 0 <= value < count:
            raise UserError(f"no {what} {value}; {step.model.info.name} has {what}s 0 to {count - 1}")
    length = len(step.ids)
    trace = yield from trace_step(step)
    heads, row, difference = [], Tensor(), 0.0
    for number in range(config.blocks):
        name = f"blocks.{number}.attention.attend"
        q, k, v = trace.took[name]
        rows = weights(q[0, :, -1:], k[0])[:, 0]  # [h, T]
        heads.append(_brief(rows))
        if number == layer:
            row = rows[head]
            mixed = rows[:, None] @ v[0].float().repeat_interleave(config.group, 0)  # [h, 1, c]
            difference = (mixed[:, 0] - trace.gave[name][0, :, -1].float()).abs().max().item()
    start = max(0, length - max(1, shown))
    note = f"the pattern shows the last {length - start} of {length:,} positions" if start else ""
    first = AttentionView(layer, head, step.pieces, tuple(row.tolist()), tuple(heads), difference, start, (), (), note)
    yield first
    pattern = yield from _pattern(step, layer, head, start)
    yield AttentionView(
        layer,
        head,
        first.pieces,
        first.row,
        first.heads,
        difference,
        start,
        tuple(tuple(line[start : start + n + 1].tolist()) for n, line in enumerate(pattern)),
        tuple(line[:start].sum().item() for line in pattern),
        note,
    )


def weights(q: Tensor, k: Tensor) -> Tensor:
    """softmax(q kᵀ/√c + mask), float32: queries [h, t, c] at the end of keys [k, T, c] → [h, t, T].

    Vaswani et al. 2017, eq. 1; h / k query heads in a row share one key head.
    """
    queries, keys = q.shape[1], k.shape[1]
    scores = q.float() @ k.float().repeat_interleave(len(q) // len(k), 0).mT / math.sqrt(q.shape[-1])
    later = torch.ones(queries, keys, dtype=torch.bool, device=q.device).triu(keys - queries + 1)
    return scores.masked_fill(later, -math.inf).softmax(-1)


def _brief(rows: Tensor) -> tuple[Head, ...]:
    """The rows [h, T] of one layer in a few numbers each."""
    peaks = rows.max(-1)
    entropies = torch.special.entr(rows).sum(-1) / math.log(2)
    columns = (entropies, peaks.indices, peaks.values, rows[:, 0], rows[:, -1])
    return tuple(Head(*values) for values in zip(*(column.tolist() for column in columns), strict=True))


def _pattern(step: Step, layer: int, head: int, start: int) -> Generator[Progress, None, Tensor]:
    """Rows of the positions from `start` on in one head, [T - start, T], float32."""
    transformer, ids, length = step.model.transformer, ids_of(step), len(step.ids)
    past = (fresh_past(step) if step.past is None else step.past).first(start)
    yield from fill_cache(step, past, start)
    name = f"blocks.{layer}.attention.attend"
    group, rows = transformer.config.group, []
    for begin in range(start, length, READ_AT_ONCE):
        end = min(begin + READ_AT_ONCE, length)
        with recording(transformer, [name]) as trace:
            _through(step, ids[:, begin:end], past, layer + 1)
        q, k, _ = trace.took[name]
        some = weights(q[0, head : head + 1], k[0, head // group : head // group + 1])[0]
        rows.append(torch.nn.functional.pad(some, (0, length - end)).cpu())
        if end < length:
            yield Progress(end - start, length - start)
    return torch.cat(rows)


def _through(step: Step, ids: Tensor, past: KVCache, blocks: int) -> None:
    """Send ids through the embedding and the first `blocks` blocks."""
    transformer, begin = step.model.transformer, past.length
    x = transformer.embed(ids) + transformer.position(torch.arange(begin, begin + ids.shape[1], device=ids.device))
    for block, memory in zip(transformer.blocks[:blocks], past.layers, strict=False):
        x = block(x, begin, memory)
    past.length = begin + ids.shape[1]
