"""How uncertain the next token is after each prefix of a text, from one forward pass over the whole text.

Article: the number of plausible next tokens shrinks as the prefix grows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from core.activations.trace import Step, empty_cache, fill_cache, ids_of
from core.language import _
from core.progress import Progress
from core.sampling.bounds import Bounded
from core.sampling.chart import chart
from core.sampling.distribution import Distribution
from core.sampling.next_distribution import NextDistribution
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate

ROWS = 16
"""Positions whose logits are in memory at the same time."""
LAST = 256
"""Prefixes that are measured by default, the longest ones."""


@dataclass(frozen=True, slots=True)
class PrefixRow:
    """The distribution of the token after one prefix."""

    piece: bytes
    """The last token of the prefix."""
    entropy_bits: Bounded
    effective: Bounded
    """2^entropy: the number of equally likely tokens with the same entropy."""
    mass90: Bounded
    """The smallest number of likeliest tokens whose probabilities sum to 90 % or more."""
    top: tuple[Candidate, ...]
    """Likeliest first."""
    came: Candidate | None
    """The token that came next in the walk; None where the walk ends here."""


@dataclass(frozen=True, slots=True)
class ContextTable:
    """The prefixes of one text, each one token longer than the one before."""

    rows: tuple[PrefixRow, ...]
    """Of the prefixes measured so far."""
    total: int
    """Prefixes to measure."""
    start: int
    """The position, in the model's window, of the last token of the first row's prefix."""
    note: str
    """What was left out; empty where nothing was."""


@torch.inference_mode()
def context(step: Step, last: int = LAST, count: int = 5) -> Iterator[Progress | ContextTable]:
    """One row for each of the `last` longest prefixes, with the `count` likeliest tokens after it."""
    piece, length = step.model.tokenizer.piece, len(step.ids)
    start = max(0, length - max(1, last))
    note = (
        _("the last {length:,} of {length_2:,} prefixes").format(length=length - start, length_2=length)
        if start
        else ""
    )
    following = (*step.ids[1:], step.target)
    rows: list[PrefixRow] = []
    for found in _distributions(step, start) if step.model.requests is None else _told(step, start):
        if isinstance(found, Progress):
            yield found
            continue
        for position, distribution in enumerate(found, start=start + len(rows)):
            likeliest = chart(distribution, Sampler(), count, piece, following[position])
            rows.append(
                PrefixRow(
                    piece=piece(step.ids[position]),
                    entropy_bits=likeliest.entropy_bits,
                    effective=likeliest.effective,
                    mass90=distribution.mass_count(0.9),
                    top=likeliest.candidates,
                    came=likeliest.taken,
                )
            )
        yield ContextTable(tuple(rows), length - start, start, note)


def _distributions(step: Step, start: int) -> Iterator[Progress | list[NextDistribution]]:
    """Those after each prefix from position `start` on, in groups."""
    transformer, ids, length, first = step.model.transformer, ids_of(step), len(step.ids), start
    cache = (empty_cache(step) if step.cache is None else step.cache).first(start)
    span = transformer.config.rope_span
    while first < length:
        yield from fill_cache(step, cache, first, first + 1)  # each prefix with the rotary frequencies of its length
        if first == start:
            yield Progress(0, length - start)
        end = next(n for n in range(first + 1, length + 1) if n in (length, first + ROWS) or span(n + 1) != cache.span)
        yield [Distribution(row) for row in transformer(ids[:, first:end], cache)[0]]
        first = end


def _told(step: Step, start: int) -> Iterator[Progress | list[NextDistribution]]:
    """As `_distributions`, by the engine that serves the model."""
    length, sequence = len(step.ids), step.model.sequences()
    sequence.append([step.ids])
    for first in range(start, length, ROWS):
        positions = range(first, min(first + ROWS, length))
        for done in sequence.read(positions):
            yield Progress(first - start + done, length - start)
        yield [row for (row,) in sequence.distributions(positions)]
