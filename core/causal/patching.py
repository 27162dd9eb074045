"""Activation patching: one activation of the clean run in the corrupt run, for every layer and position.

Causal tracing (Meng et al. 2022, "Locating and Editing Factual Associations in GPT"); the measure is normalized, so
that 0 is the corrupt run and 1 the clean one. A patched run begins at the patched layer and position: what lies below
and before is that of the corrupt run. Runs that begin at different layers go on together as rows of one batch.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from core.causal.prompt_pair import PromptPair, SharedPast
from core.engine.hooks import ForwardHooks

MapName = Literal["residual", "attention", "mlp", "heads"]
MAPS: tuple[MapName, ...] = get_args(MapName)
TOKENS_AT_ONCE = 480
"""Tokens of all rows that go through a block together."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One patch of a map."""

    map: MapName
    """`residual` is the residual stream before the block, `attention` and `mlp` what the block's sublayers add to it,
    `heads` one head at all positions."""
    layer: int
    index: int
    """The position; of `heads` the head."""


def cells(pair: PromptPair, name: MapName, layers: Iterable[int]) -> list[Cell]:
    """The cells of some layers of a map, those of positions at which both runs are equal left out."""
    config = pair.transformer.config
    indices = range(config.heads) if name == "heads" else range(pair.first, pair.length)
    return [Cell(name, layer, index) for layer in layers for index in indices]


def coarse_to_fine(count: int) -> Iterator[range | list[int]]:
    """The layers in passes: every 2ᵏ-th, then those halfway between, down to every one."""
    step = 1
    while 6 * step <= count:
        step *= 2
    yield range(0, count, step)
    while step > 1:
        step //= 2
        yield range(step, count, 2 * step)


def groups(pair: PromptPair, wanted: Sequence[Cell]) -> Iterator[list[Cell]]:
    """Cells of one map in groups that are computed together, the last positions first."""
    if wanted and wanted[0].map == "heads":
        yield from _even(list(wanted), TOKENS_AT_ONCE // (pair.length - pair.first))
        return
    group: list[Cell] = []
    by_position = sorted(wanted, key=lambda cell: (-cell.index, cell.layer))
    for position, same in groupby(by_position, key=lambda cell: cell.index):
        column, tokens = list(same), pair.length - position
        if group and (len(group) + len(column)) * tokens > TOKENS_AT_ONCE:
            yield group
            group = []
        *full, group_end = _even(column, TOKENS_AT_ONCE // tokens)
        yield from full
        group += group_end
    if group:
        yield group


def _even(cells: list[Cell], most: int) -> list[list[Cell]]:
    """Cells in parts of about the same size, at most `most` each, where that is at least one."""
    parts = -(-len(cells) // max(1, most))
    bounds = [len(cells) * n // parts for n in range(parts + 1)]
    return [cells[start:end] for start, end in pairwise(bounds)]


@torch.inference_mode()
def patched_measures(pair: PromptPair, group: Sequence[Cell]) -> Generator[None, None, dict[Cell, float]]:
    """The normalized measure of each cell, patched alone; yields after each block. No hook is on the model meanwhile.

    All rows begin at the first position of the group; where a row's own patch comes later, it repeats the corrupt run.
    """
    transformer = pair.transformer
    rows = sorted(group, key=lambda cell: cell.layer)
    start = min(pair.first if cell.map == "heads" else cell.index for cell in rows)
    positions = torch.arange(start, pair.length, device=transformer.device)
    x = pair.corrupt.streams[0].new_empty(0, len(positions), pair.corrupt.streams[0].shape[-1])
    for layer in range(rows[0].layer, len(transformer.blocks)):
        new = [cell for cell in rows if cell.layer == layer]
        old = len(x)
        if new:
            x = torch.cat((x, pair.corrupt.streams[layer][start:].expand(len(new), -1, -1)))
        with ForwardHooks() as hooks:
            _swap(hooks, pair, new, old, start, x)
            transformer.position(positions)  # hooks of installed patches keep the positions
            x = transformer.blocks[layer](x, start, SharedPast(pair.corrupt.cache.layers[layer], start)).to(x.device)
        yield
    return {cell: pair.normalized(measure) for cell, measure in zip(rows, pair.measures(x), strict=True)}


def _swap(hooks: ForwardHooks, pair: PromptPair, new: Sequence[Cell], old: int, start: int, x: Tensor) -> None:
    """Put clean activations into the rows of `new` cells, from row `old` on: into `x`, or by hooks of the block."""
    clean, transformer = pair.clean, pair.transformer
    by_map = {name: [(old + n, cell) for n, cell in enumerate(new) if cell.map == name] for name in MAPS}
    for row, cell in by_map["residual"]:
        x[row, cell.index - start] = clean.streams[cell.layer][cell.index]

    def at_positions(x: Tensor, cells: Sequence[tuple[int, Cell]], source: Sequence[Tensor]) -> Tensor:
        x = x.clone()
        for row, cell in cells:
            x[row, cell.index - start] = source[cell.layer][cell.index]
        return x

    def at_heads(x: Tensor) -> Tensor:
        x, size = x.clone(), transformer.config.head_dim
        for row, cell in by_map["heads"]:
            head = slice(cell.index * size, (cell.index + 1) * size)
            x[row, :, head] = clean.heads[cell.layer][start:, head]
        return x

    if not new:
        return
    prefix = f"blocks.{new[0].layer}"
    if by_map["attention"]:
        module = transformer.get_submodule(f"{prefix}.attention")
        hooks.after(module, lambda _, inputs, output: at_positions(output, by_map["attention"], clean.attention))
    if by_map["mlp"]:
        module = transformer.get_submodule(f"{prefix}.feed_forward")
        hooks.after(module, lambda _, inputs, output: at_positions(output, by_map["mlp"], clean.mlp))
    if by_map["heads"]:
        module = transformer.get_submodule(f"{prefix}.attention.out")
        hooks.before(module, lambda _, inputs: (at_heads(inputs[0]),))
