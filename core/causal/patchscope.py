"""Patchscopes: a residual stream is put into another prompt, which is read on (Ghandeharioun et al. 2024, §3).

The stream takes the place of that of one position of the target prompt after some number of blocks. What comes after is
computed from it; the tokens before that position, and the blocks below, are those of the target prompt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.engine.hooks import ForwardHooks
from core.engine.model import Transformer

TOKENS = 384
"""Tokens that go through the model at once: the length of the prompt times the streams that are put into it."""


@dataclass(frozen=True, slots=True)
class PatchedRuns:
    """What the model says after the target prompt, by the stream that was put in."""

    logits: Tensor
    """Of the token after the prompt, [R, V], float32 on the CPU."""
    generated: tuple[tuple[int, ...], ...]
    """The likeliest token each time, R lists of ids."""


def patched_runs(
    transformer: Transformer,
    ids: Sequence[int],
    position: int,
    states: Tensor,
    depths: Sequence[int | None],
    count: int,
) -> Iterator[PatchedRuns | None]:
    """Put each state [R, d] at `position` of the prompt `ids` after as many blocks as `depths` says, or none where it
    is None, and read on.

    Yields results for a few states at a time, in order, and None between passes. After N blocks the state takes the
    place of the last stream.
    """
    size = max(1, TOKENS // len(ids))
    for first in range(0, len(depths), size):
        part = slice(first, first + size)
        yield from _run(transformer, ids, position, states[part], depths[part], count)


@torch.inference_mode()
def _run(
    transformer: Transformer,
    ids: Sequence[int],
    position: int,
    states: Tensor,
    depths: Sequence[int | None],
    count: int,
) -> Iterator[PatchedRuns | None]:
    rows = len(depths)
    cache = transformer.cache(rows)
    cache.prepare(len(ids) + count)
    with ForwardHooks() as hooks:
        for depth in {depth for depth in depths if depth is not None}:
            _put(hooks, transformer, depth, [n for n in range(rows) if depths[n] == depth], position, states)
        prompt = torch.tensor([list(ids)], device=transformer.device).expand(rows, -1)
        logits = transformer.logits(transformer.hidden(prompt, cache)[:, -1])
    generated = [logits.argmax(-1)]
    while len(generated) < count:
        yield None
        generated.append(transformer.step(generated[-1][:, None], cache)[1][:, -1].argmax(-1))
    yield PatchedRuns(logits.to("cpu", torch.float32), tuple(map(tuple, torch.stack(generated, 1).tolist())))


def _put(
    hooks: ForwardHooks, transformer: Transformer, depth: int, rows: list[int], position: int, states: Tensor
) -> None:
    """Replace the stream of some rows at a position, after `depth` blocks."""

    def put(_: object, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        stream = inputs[0].clone()
        stream[rows, position] = states[rows].to(stream)
        return (stream, *inputs[1:])

    hooks.before(transformer.blocks[depth] if depth < len(transformer.blocks) else transformer.norm, put)
