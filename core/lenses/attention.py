"""Attention weights: of every head at the last position, and the pattern of one head over the last positions.

Memory stays small: rows of earlier positions are computed for the shown positions only, never T × T weights for all
layers and heads; of heads that are not chosen, small pictures are kept.
"""

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from core.activations.trace import (
    TOKENS_PER_PAUSE,
    Step,
    empty_cache,
    fill_cache,
    ids_of,
    recording,
    require_finite,
    trace_step,
)
from core.engine.cache import KVCache
from core.errors import UserError
from core.language import N_, _
from core.progress import Progress

SHOWN = 64
"""Positions in the pattern, the last ones."""


@dataclass(frozen=True, slots=True)
class HeadSummary:
    """The attention weights of the last position in one head, in a few numbers."""

    entropy_bits: float
    """Entropy of its weights: 0 for all weight on one position, log2 T for equal weights."""
    peak: int
    """The position with the largest weight."""
    peak_weight: float
    first: float
    """Weight on the first position, the usual attention sink (Xiao et al. 2023)."""
    own: float
    """Weight on the last position itself."""


@dataclass(frozen=True, slots=True)
class AttentionView:
    """One head in full, and all heads in a few numbers."""

    layer: int
    """The chosen layer, from 0."""
    head: int
    """The chosen head, from 0."""
    pieces: tuple[bytes, ...]
    """The tokens of all T positions."""
    row: tuple[float, ...]
    """Weights of the last position in the chosen head on all T positions; they sum to 1, or less by a sink's share."""
    heads: tuple[tuple[HeadSummary, ...], ...]
    """[layers][heads]."""
    difference: float
    """Largest |softmax(q kᵀ/√c) v − SDPA| in the chosen layer at the last position."""
    start: int
    """The first position of the pattern."""
    pattern: tuple[tuple[float, ...], ...]
    """Row r has the weights of position `start` + r on positions `start` … `start` + r; later ones are masked.

    Empty until computed.
    """
    before: tuple[float, ...]
    """Weight of each row of the pattern on the positions before `start`."""
    note: str
    """What was left out; empty where nothing was."""
    pictures: tuple[tuple[bytes, ...], ...] = ()
    """[layers][heads], each size × size pixels, row by row: the pattern of the head on the shown positions, reduced by
    its largest weights. 255 is the largest weight of a row of pixels. Empty unless asked for, and until computed."""


@torch.inference_mode()
def attention(
    step: Step, layer: int = 0, head: int = 0, shown: int = SHOWN, size: int = 0
) -> Iterator[Progress | AttentionView]:
    """The weights of the last position first, then the pattern of the last `shown` positions in one head.

    With a `size` it has also pictures of all heads, of that many pixels in height and width.

    Raises `UserError` for a model without attention, and for a layer or head it does not have.
    """
    config = step.model.transformer.config
    if not config.blocks:
        raise UserError(_("{name} has no attention; choose model3 or a later model"), name=step.model.info.name)
    for what, value, count in ((N_("layer"), layer, config.blocks), (N_("head"), head, config.heads)):
        if not 0 <= value < count:
            raise UserError(
                _("there is no {what} {value}; {name} has {count}, numbered from 0 to {last}"),
                what=_(what),
                value=value,
                name=step.model.info.name,
                count=count,
                last=count - 1,
            )
    length = len(step.ids)
    trace = yield from trace_step(step)
    summaries, row, difference = [], Tensor(), 0.0
    for number in range(config.blocks):
        name = f"blocks.{number}.attention.attend"
        q, k, v = trace.inputs[name]
        attend: Any = step.model.transformer.get_submodule(name)
        rows = attend.weights(q[:, :, -1:], k)[0, :, 0]  # [h, T]
        require_finite(name, rows)
        summaries.append(_summaries(rows))
        if number == layer:
            row = rows[head]
            by_formula = rows[:, None] @ v[0].float().repeat_interleave(config.group, 0)  # [h, 1, c]
            difference = (by_formula[:, 0] - trace.outputs[name][0, :, -1].float()).abs().max().item()
    start = max(0, length - max(1, shown))
    note = f"the pattern shows the last {length - start} of {length:,} positions" if start else ""
    view = AttentionView(
        layer=layer,
        head=head,
        pieces=step.pieces,
        row=tuple(row.tolist()),
        heads=tuple(summaries),
        difference=difference,
        start=start,
        pattern=(),
        before=(),
        note=note,
    )
    yield view
    rows, pictures = yield from _patterns(step, layer, head, start, size)
    yield replace(
        view,
        pictures=pictures,
        pattern=tuple(tuple(row[start : start + n + 1].tolist()) for n, row in enumerate(rows)),
        before=tuple(row[:start].sum().item() for row in rows),
    )


def _summaries(rows: Tensor) -> tuple[HeadSummary, ...]:
    """A summary of each head of one layer from its weights [h, T]."""
    peaks = rows.max(-1)
    entropies = torch.special.entr(rows).sum(-1) / math.log(2)
    columns = (entropies, peaks.indices, peaks.values, rows[:, 0], rows[:, -1])
    return tuple(HeadSummary(*values) for values in zip(*(column.tolist() for column in columns), strict=True))


def _patterns(
    step: Step, layer: int, head: int, start: int, size: int
) -> Generator[Progress, None, tuple[Tensor, tuple[tuple[bytes, ...], ...]]]:
    """Weights of the positions from `start` on in one head, [T - start, T], float32 on the CPU, and the pictures."""
    transformer, ids, length = step.model.transformer, ids_of(step), len(step.ids)
    cache = (empty_cache(step) if step.cache is None else step.cache).first(start)
    yield from fill_cache(step, cache, start)
    layers = range(len(transformer.blocks)) if size else range(layer, layer + 1)
    names = {number: f"blocks.{number}.attention.attend" for number in layers}
    rows: dict[int, list[Tensor]] = {number: [] for number in layers}
    for begin in range(start, length, TOKENS_PER_PAUSE):
        end = min(begin + TOKENS_PER_PAUSE, length)
        with recording(transformer, names.values()) as trace:
            _run_blocks(step, ids[:, begin:end], cache, layers.stop)
        for number, name in names.items():
            q, k, _unused = trace.inputs[name]
            attend: Any = transformer.get_submodule(name)
            weights = attend.weights(q, k)[0]  # [h, t, end]
            require_finite(name, weights)
            kept = weights if number == layer else weights[..., start:]
            rows[number].append(torch.nn.functional.pad(kept, (0, length - end)).cpu())
        if end < length:
            yield Progress(end - start, length - start)
    shown = {number: torch.cat(chunks, 1) for number, chunks in rows.items()}  # [h, T - start, T or T - start]
    pictures = tuple(_pictures(weights[..., start - length :], size) for weights in shown.values()) if size else ()
    return shown[layer][head], pictures


def _pictures(weights: Tensor, size: int) -> tuple[bytes, ...]:
    """Each head of [h, t, t] as size × size pixels."""
    reduced = torch.nn.functional.adaptive_max_pool2d(weights.float(), (size, size))
    levels = (255 * reduced / reduced.amax(-1, keepdim=True).clamp(min=1e-12)).round().to(torch.uint8)
    return tuple(bytes(head.flatten().tolist()) for head in levels)


def _run_blocks(step: Step, ids: Tensor, cache: KVCache, blocks: int) -> None:
    """Compute the embedding and the first `blocks` blocks for ids [1, t] that follow those in the cache."""
    transformer, begin = step.model.transformer, cache.length
    x = transformer.embedded(ids, begin)
    for block, past in zip(transformer.blocks[:blocks], cache.layers, strict=False):
        x = block(x, begin, past)
    cache.length = begin + ids.shape[1]
