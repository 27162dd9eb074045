"""Why a token was drawn: each token through each stage, the number u, and what other ways of choosing would give."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from core.sampling.apply import Applied, apply_stages
from core.sampling.bounds import Bounded, between, bits, high, low
from core.sampling.context import DrawContext
from core.sampling.explanation import Pick, SamplerLens, SamplerRow, SamplerTail
from core.sampling.next_distribution import NeedsMore, NextDistribution
from core.sampling.partial_selection import Selected
from core.sampling.sampler import Sampler

ROWS = 50
"""Tokens of the model's head that are listed one by one, at most, and as many of the final head."""

Piece = Callable[[int], bytes]
Interval = tuple[float, float]
EMPTY: Interval = (0.0, 0.0)


def sampler_lens(
    distribution: NextDistribution,
    sampler: Sampler,
    u: float,
    piece: Piece,
    count: int = ROWS,
    context: DrawContext = DrawContext(),
) -> SamplerLens:
    """The `count` likeliest tokens, `ROWS` at most, through every stage, and what `u` in [0, 1) draws.

    `piece` gives the bytes of an id.
    """
    applied = apply_stages(distribution, sampler, context)
    ids, intervals = _listed(applied, max(1, min(count, ROWS)))
    table = _Table(applied, ids)
    rows = tuple(
        SamplerRow(id, piece(id), rank, logit, shares, cut_by, interval)
        for id, rank, logit, shares, cut_by, interval in zip(
            ids, table.ranks, table.logits, table.shares, table.cut_by, intervals, strict=True
        )
    )
    drawn, undecided = _drawn(applied, u, piece, rows)
    return SamplerLens(
        sampler=sampler,
        stages=applied.effects(),
        entropies=table.entropies,
        rows=rows,
        tail=table.tail(),
        kept=0 if applied.error else applied.selection.count,
        u=u,
        chance=context.chance,
        drawn=drawn,
        greedy=_pick(distribution, distribution.argmax, piece, 1.0, (0.0, 1.0)),
        uniform=_uniform(distribution, u, piece),
        problem=applied.problem,
        undecided=undecided,
        known=distribution.known if distribution.known < distribution.vocab_size else None,
        from_logprobs=distribution.from_logprobs,
    )


def _listed(applied: Applied, count: int) -> tuple[list[int], list[Interval]]:
    """The ids to list, in the model's order, and the values of u that draw each."""
    distribution, selection = applied.distribution, applied.selection
    likeliest = distribution.first(count).tolist()
    found: dict[int, Interval] = {}
    if not applied.error:
        found = selection.intervals(count)
        missing = [id for id in likeliest if id not in found and high(selection.probability(id)) > 0]
        found |= {id: selection.interval(id) for id in missing}
    added = list(found.keys() - set(likeliest))
    logits = dict(zip(added, distribution.logits_of(added), strict=True))
    ids = [*likeliest, *sorted(added, key=lambda id: (-logits[id], id))]
    return ids, [found.get(id, EMPTY) for id in ids]


class _Table:
    """What each stage did to listed ids, and to the others summed."""

    def __init__(self, applied: Applied, ids: Sequence[int]) -> None:
        distribution, size = applied.distribution, len(ids)
        self._size = distribution.vocab_size
        self._states = [applied.before, *applied.after]
        """What reached the first stage, and what each stage left."""
        listed = np.array(ids)
        likeliest = distribution.first(size).tolist()
        ranks = {id: rank for rank, id in enumerate(likeliest)}
        self.ranks = [ranks[id] if id in ranks else int(low(distribution.rank(id))) for id in ids]
        self.logits = distribution.logits_of(ids)
        columns, self._there = list[list[Bounded]](), list[Any]()
        before: Selected | None = None
        for state in self._states:
            if state is not before:
                shares, there = state.probabilities_of(listed), state.contains(listed)
            columns.append(shares)
            self._there.append(there)
            before = state
        self.shares = list(zip(*columns, strict=True))
        left = np.stack(self._there[1:], axis=1) if applied.after else np.ones((size, 1), dtype=bool)
        self.cut_by = [None if row.all() else int(row.argmin()) for row in left]
        there = int(self._there[-1].sum())
        self._kept: Bounded = 0
        if not applied.error:
            self._kept = between(*(max(0, end(applied.selection.count) - there) for end in (low, high)))

    @property
    def entropies(self) -> tuple[Bounded, ...]:
        """Of each state, in bits."""
        return tuple(bits(state.entropy_nats) if state.drawable else 0.0 for state in self._states)

    def tail(self) -> SamplerTail:
        """The ids that are not listed, summed."""
        shares = list[Bounded]()
        for number, (state, there) in enumerate(zip(self._states, self._there, strict=True)):
            others = state.drawable and high(state.count) > there.sum()
            listed = [row[number] for row in self.shares]
            rest = between(*(max(0.0, 1.0 - math.fsum(map(end, listed))) for end in (high, low))) if others else 0.0
            shares.append(rest)
        return SamplerTail(self._size - len(self.ranks), self._kept, tuple(shares))


def _drawn(applied: Applied, u: float, piece: Piece, rows: Sequence[SamplerRow]) -> tuple[Pick | None, str]:
    """The token that u draws; or None, and why that cannot be told."""
    if applied.error:
        return None, ""
    selection = applied.selection
    try:
        token = selection.token_at(u)
    except NeedsMore as more:
        return None, str(more)
    share = selection.probability(token.at)
    end = min(1.0, token.cumulative)
    listed = {row.id: row.interval for row in rows}
    interval = listed.get(token.at, (max(0.0, end - low(share)), end))
    return _pick(applied.distribution, token.at, piece, share, interval), ""


def _uniform(distribution: NextDistribution, u: float, piece: Piece) -> Pick | None:
    """What `u` would draw if every token of the vocabulary had the same probability; None where it is not known."""
    size = distribution.vocab_size
    rank = min(int(u * size), size - 1)
    id = distribution.id_at(rank)
    return None if id is None else _pick(distribution, id, piece, 1 / size, (rank / size, (rank + 1) / size))


def _pick(distribution: NextDistribution, id: int, piece: Piece, share: Bounded, interval: Interval) -> Pick:
    (probability,) = distribution.probabilities_of([id])
    return Pick(id, piece(id), int(low(distribution.rank(id))), probability, share, interval)
