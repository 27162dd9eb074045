"""Owns how the search space shrinks token by token (S12): one row for each prefix, all from one forward pass."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from core.activations.trace import Step, fill_cache, fresh_past, ids_of
from core.progress import Progress
from core.sampling.chart import chart
from core.sampling.distribution import Distribution, mass_count
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate

ROWS = 16
"""Positions whose logits are held at the same time."""
LAST = 256
"""Prefixes that are measured, the longest ones."""


@dataclass(frozen=True, slots=True)
class PrefixRow:
    """What may come after one prefix."""

    piece: bytes
    """The last token of the prefix."""
    entropy_bits: float
    effective: float
    """How many equally likely tokens would be as uncertain: 2^H."""
    mass90: int
    """How many of the likeliest tokens hold 90 % of the probability."""
    top: tuple[Candidate, ...]
    """Likeliest first."""
    came: Candidate | None
    """The token that came next; None where none did."""


@dataclass(frozen=True, slots=True)
class ContextTable:
    """The prefixes of one text, each a token longer."""

    rows: tuple[PrefixRow, ...]
    """As far as read."""
    total: int
    """How many rows there will be."""
    start: int
    """How many tokens of the window stand before those of the first row's end."""
    note: str
    """What was left out; empty where nothing was."""


@torch.inference_mode()
def context(step: Step, last: int = LAST, count: int = 5) -> Iterator[Progress | ContextTable]:
    """Entropy, effective candidates, tokens for 90 % and the `count` likeliest after each of the `last` prefixes."""
    transformer, piece = step.model.transformer, step.model.tokenizer.piece
    length = len(step.ids)
    start = max(0, length - max(1, last))
    note = f"the last {length - start:,} of {length:,} prefixes" if start else ""
    ids, came = ids_of(step), (*step.ids[1:], step.target)
    past = (fresh_past(step) if step.past is None else step.past).first(start)
    yield from fill_cache(step, past, start)
    yield Progress(0, length - start)
    rows: list[PrefixRow] = []
    while past.length < length:
        at = past.length
        logits = transformer(ids[:, at : at + ROWS], past)[0]
        for place, row in enumerate(logits, start=at):
            distribution = Distribution(row)
            seen = chart(distribution, Sampler(), count, piece, came[place])
            mass90 = mass_count(distribution, 0.9)
            rows.append(
                PrefixRow(
                    piece(step.ids[place]), seen.entropy_bits, seen.effective, mass90, seen.candidates, seen.taken
                )
            )
        yield ContextTable(tuple(rows), length - start, start, note)
