"""Why a token was drawn: each token through each stage, the number u, and what other ways of choosing would give."""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from core.errors import UserError
from core.sampling.apply import Applied, apply_stages
from core.sampling.context import DrawContext
from core.sampling.distribution import Distribution
from core.sampling.explanation import Pick, SamplerLens, SamplerRow, SamplerTail
from core.sampling.sampler import Sampler
from core.sampling.selection import Selection

ROWS = 50
"""Tokens of the model's head that are listed one by one, at most, and as many of the final head."""

Piece = Callable[[int], bytes]
Interval = tuple[float, float]
EMPTY: Interval = (0.0, 0.0)


def sampler_lens(
    distribution: Distribution,
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
    return SamplerLens(
        sampler=sampler,
        stages=applied.effects(),
        entropies=table.entropies,
        rows=rows,
        tail=table.tail(),
        kept=0 if applied.problem else len(applied.selection),
        u=u,
        chance=context.chance,
        drawn=None if applied.problem else _drawn(applied, u, piece, rows),
        greedy=_pick(distribution, distribution.argmax, piece, 1.0, (0.0, 1.0)),
        uniform=_uniform(distribution, u, piece),
        problem=str(UserError(*applied.problem)) if applied.problem else "",
    )


def _listed(applied: Applied, count: int) -> tuple[list[int], list[Interval]]:
    """The ids to list, in the model's order, and the values of u that draw each."""
    distribution, selection = applied.distribution, applied.selection
    likeliest = distribution.first(count).tolist()
    found: dict[int, Interval] = {}
    if not applied.problem:
        first = selection.ranking.first(min(count, len(selection)))
        edges = list(accumulate(selection.probabilities[first].tolist(), initial=0.0))
        total = edges[-1] if len(first) == len(selection) else max(1.0, edges[-1])  # float32 shares sum to nearly 1
        ends = [edge / total for edge in edges]
        found = dict(zip(selection.ids[first].tolist(), pairwise(ends), strict=False))
        missing = [id for id in likeliest if id not in found and selection.probability(id) > 0]
        found |= {id: _interval(selection, id) for id in missing}
    added = sorted(found.keys() - set(likeliest), key=lambda id: (-distribution.scores[id], id))
    ids = [*likeliest, *added]
    return ids, [found.get(id, EMPTY) for id in ids]


def _interval(selection: Selection, id: int) -> Interval:
    """The values of u that draw a selected id."""
    at = int(selection.positions([id])[0])
    end = min(1.0, selection.ranking.at_rank(selection.ranking.rank(at)).cumulative)
    return max(0.0, end - selection.probability(id)), end


class _Table:
    """What each stage did to listed ids, and to the others summed."""

    def __init__(self, applied: Applied, ids: Sequence[int]) -> None:
        distribution, size = applied.distribution, len(ids)
        self._size = len(distribution.scores)
        self._states = [Selection.of(distribution), *applied.after]
        """What reached the first stage, and what each stage left."""
        listed = np.array(ids)
        likeliest = distribution.first(size).tolist()
        ranks = {id: rank for rank, id in enumerate(likeliest)}
        self.ranks = [ranks[id] if id in ranks else distribution.rank(id) for id in ids]
        self.logits = distribution.scores[listed].tolist()
        columns, self._there = list[Any](), list[Any]()
        before: Selection | None = None
        for state in self._states:
            if state is not before:
                shares, there = state.probabilities_of(listed), state.contains(listed)
            columns.append(shares)
            self._there.append(there)
            before = state
        self.shares = list(zip(*(column.tolist() for column in columns), strict=True))
        left = np.stack(self._there[1:], axis=1) if applied.after else np.ones((size, 1), dtype=bool)
        self.cut_by = [None if row.all() else int(row.argmin()) for row in left]
        self._kept = 0 if applied.problem else len(applied.selection) - int(self._there[-1].sum())

    @property
    def entropies(self) -> tuple[float, ...]:
        """Of each state, in bits."""
        return tuple(state.entropy_nats / math.log(2) if state.drawable else 0.0 for state in self._states)

    def tail(self) -> SamplerTail:
        """The ids that are not listed, summed."""
        shares = []
        for number, (state, there) in enumerate(zip(self._states, self._there, strict=True)):
            others = state.drawable and len(state) > there.sum()
            shares.append(max(0.0, 1.0 - math.fsum(row[number] for row in self.shares)) if others else 0.0)
        return SamplerTail(self._size - len(self.ranks), self._kept, tuple(shares))


def _drawn(applied: Applied, u: float, piece: Piece, rows: Sequence[SamplerRow]) -> Pick:
    selection = applied.selection
    token = selection.token_at(u)
    share = selection.probability(token.at)
    end = min(1.0, token.cumulative)
    listed = {row.id: row.interval for row in rows}
    return _pick(applied.distribution, token.at, piece, share, listed.get(token.at, (max(0.0, end - share), end)))


def _uniform(distribution: Distribution, u: float, piece: Piece) -> Pick:
    """What `u` would draw if every token of the vocabulary had the same probability."""
    size = len(distribution.scores)
    rank = min(int(u * size), size - 1)
    id = distribution.at_rank(rank).at
    return _pick(distribution, id, piece, 1 / size, (rank / size, (rank + 1) / size))


def _pick(distribution: Distribution, id: Any, piece: Piece, share: float, interval: Interval) -> Pick:
    return Pick(id, piece(id), distribution.rank(id), float(distribution.shares[id]), share, interval)
