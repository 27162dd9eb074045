"""The contrast lens: activation patching from a clean into a corrupt prompt, exact and estimated.

`core.causal.patching` and `core.causal.attribution_patching` say what is computed, and cite it.
"""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from core.activations.trace import Step
from core.causal.attribution_patching import Agreement, agreement, estimated_maps
from core.causal.patching import MAPS, Cell, MapName, cells, coarse_to_fine, groups, patched_measures
from core.causal.prompt_pair import PromptPair, read_pair
from core.causal.question import CausalQuestion, Measured
from core.causal.table import Table
from core.errors import UserError
from core.language import _
from core.progress import Progress
from core.tokenizers.tokenizer import piece_text

Map = tuple[tuple[float | None, ...], ...]
"""[layer × position] or [layer × head]; None where a value is not computed yet."""


@dataclass(frozen=True, slots=True)
class Maps:
    """The normalized measure with one activation of the clean run in the corrupt one: 0 is corrupt, 1 clean."""

    residual: Map
    """The residual stream before each block, by position."""
    attention: Map
    """What the attention of each block adds, by position."""
    mlp: Map
    """What the MLP of each block adds, by position; empty where the model has none."""
    heads: Map
    """Each head at all positions."""


@dataclass(frozen=True, slots=True)
class Contrast(Maps):
    """The maps so far, and their estimates by attribution patching."""

    asked: Measured
    """The question after the clean prompt."""
    clean: float
    """m after the clean prompt, in nats."""
    corrupt: float
    """m after the corrupt prompt, in nats."""
    pieces: tuple[bytes, ...]
    """The tokens of the clean prompt."""
    corrupt_pieces: tuple[bytes, ...]
    corrupt_ids: tuple[int, ...]
    first: int
    """The first position at which the prompts differ; before it nothing can change."""
    estimated: Maps | None
    """The same maps by one backward pass; None until computed."""
    agreement: tuple[Agreement, ...]
    """Of each map that is complete, how well its estimate agrees with it."""


@torch.inference_mode()
def contrast(
    step: Step,
    question: CausalQuestion = CausalQuestion(),
    first: MapName = "residual",
    known: Contrast | None = None,
) -> Iterator[Progress | Contrast]:
    """Compute all maps, `first` first: a few layers of it, then the estimates, then layers in between.

    `known` is an earlier answer, whose values are taken over where the question and the model are the same. Raises
    `UserError` for a map that does not exist, and where the prompts cannot be compared.
    """
    if first not in MAPS:
        raise UserError(_("{map!r} is not a map; choose one of {choices}"), map=first, choices=", ".join(MAPS))
    pair = yield from read_pair(step, question)
    answer = _begun(step, question, pair)
    if known and _same(known, answer):
        answer = known
    work = _Work(pair, answer)
    yield answer
    order = (first, *(name for name in MAPS if name != first))
    passes = [(name, layers) for name in order for layers in coarse_to_fine(len(pair.transformer.blocks))]
    for number, (name, layers) in enumerate(passes):
        if number == 1 and answer.estimated is None:
            found = yield from estimated_maps(pair, answer.corrupt_ids)
            answer = replace(answer, estimated=Maps(**{key: _frozen(rows) for key, rows in found.items()}))
            yield (answer := _compared(answer, first))
        for group in groups(pair, work.missing(name, layers)):
            yield from work.compute(group)
            answer = replace(answer, **work.maps())
            yield answer
        answer = _compared(answer, name)
    yield answer


def table(answer: Contrast) -> Table:
    """One row for each cell: a position has a token, a head has none."""
    rows = []
    for name in MAPS:
        estimates = getattr(answer.estimated, name) if answer.estimated else ()
        for layer, values in enumerate(getattr(answer, name)):
            for at, value in enumerate(values):
                piece = None if name == "heads" else piece_text(answer.pieces[at])
                estimate = estimates[layer][at] if estimates else None
                rows.append((name, layer, at, piece, value, estimate))
    return Table(("map", "layer", "at", "token", "value", "estimate"), tuple(rows))


def _begun(step: Step, question: CausalQuestion, pair: PromptPair) -> Contrast:
    """The answer in which only positions before the first difference are known: both runs are equal there."""
    config, piece = pair.transformer.config, step.model.tokenizer.piece
    corrupt = question.corrupt_ids(step.ids, step.model.transformer.config.context)
    row = (0.0,) * pair.first + (None,) * (pair.length - pair.first)
    return Contrast(
        residual=(row,) * config.blocks,
        attention=(row,) * config.blocks,
        mlp=(row,) * (config.blocks if config.feed_forward else 0),
        heads=((None,) * config.heads,) * config.blocks,
        asked=question.measured(pair.clean.logits, piece),
        clean=pair.high,
        corrupt=pair.low,
        pieces=step.pieces,
        corrupt_pieces=tuple(map(piece, corrupt)),
        corrupt_ids=corrupt,
        first=pair.first,
        estimated=None,
        agreement=(),
    )


def _same(known: Contrast, begun: Contrast) -> bool:
    """Whether an earlier answer is to the same question on the same model: then both measures are equal too."""
    names = ("asked", "clean", "corrupt", "pieces", "corrupt_ids")
    return all(getattr(known, name) == getattr(begun, name) for name in names)


def _frozen(rows: list[list[Any]]) -> Map:
    return tuple(map(tuple, rows))


def _compared(answer: Contrast, name: MapName) -> Contrast:
    """The answer with the agreement of a map, where it is complete and not compared yet."""
    exact: Map = getattr(answer, name)
    done = not any(value is None for row in exact for value in row)
    if answer.estimated is None or not exact or not done or any(each.map == name for each in answer.agreement):
        return answer
    compared = agreement(name, exact, getattr(answer.estimated, name), answer.first)
    return replace(answer, agreement=(*answer.agreement, compared))


class _Work:
    """The values of all maps so far."""

    def __init__(self, pair: PromptPair, answer: Contrast) -> None:
        self._pair = pair
        self._values: dict[MapName, list[list[float | None]]] = {
            name: [[*row] for row in getattr(answer, name)] for name in MAPS
        }
        layers = range(len(pair.transformer.blocks))
        self._total = sum(len(cells(pair, name, layers)) for name in MAPS if self._values[name])

    def maps(self) -> dict[str, Any]:
        return {name: _frozen(rows) for name, rows in self._values.items()}

    def missing(self, name: MapName, layers: Iterable[int]) -> list[Cell]:
        """The cells of some layers that are not computed yet."""
        values = self._values[name]
        return [cell for cell in cells(self._pair, name, layers) if values and values[cell.layer][cell.index] is None]

    def compute(self, group: list[Cell]) -> Generator[Progress, None, None]:
        """Compute a group of cells; progress counts cells of all maps."""
        left = sum(value is None for rows in self._values.values() for row in rows for value in row)
        measures = patched_measures(self._pair, group)
        while True:
            try:
                next(measures)
            except StopIteration as end:
                for cell, value in end.value.items():
                    self._values[cell.map][cell.layer][cell.index] = value
                return
            yield Progress(self._total - left, self._total)
