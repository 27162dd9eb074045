"""Why a token was drawn: each token through each stage, the number u, and what other ways of choosing would give."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate, pairwise

from core.sampling.distribution import Distribution, RankedToken
from core.sampling.draw import token_at
from core.sampling.explanation import Cut, OtherOrder, Pick, SamplerLens, SamplerRow, SamplerTail
from core.sampling.sampler import ORDERS, Sampler
from core.sampling.stages import Selection, apply_stages
from core.sampling.values import SamplerStage

ROWS = 50
"""Tokens at most that are listed one by one."""

Piece = Callable[[int], bytes]


def sampler_lens(
    distribution: Distribution, sampler: Sampler, u: float, piece: Piece, count: int = ROWS
) -> SamplerLens:
    """The `count` likeliest tokens, `ROWS` at most, through every stage, and what `u` in [0, 1) draws.

    `piece` gives the bytes of an id.
    """
    selection = apply_stages(distribution, sampler)
    rows = _rows(distribution, selection, piece, min(count, ROWS))
    drawn = token_at(distribution, selection, u)
    share = selection.weights[drawn.id].item() / selection.mass
    end = min(1.0, drawn.cumulative / selection.mass)
    interval = rows[drawn.rank].interval if drawn.rank < len(rows) else (max(0.0, end - share), end)
    return SamplerLens(
        sampler=sampler,
        stages=selection.stages,
        cuts=_cuts(distribution, selection, rows[0].id),
        rows=rows,
        tail=_tail(distribution, selection, rows),
        u=u,
        drawn=_pick(distribution, drawn, share, interval, piece),
        greedy=_pick(distribution, RankedToken(rows[0].id, 0, 1.0), 1.0, (0.0, 1.0), piece),
        uniform=_uniform(distribution, u, piece),
        other=_other_order(distribution, sampler, selection, rows),
    )


def _rows(distribution: Distribution, selection: Selection, piece: Piece, count: int) -> tuple[SamplerRow, ...]:
    ids = distribution.head(max(1, count))
    numbers = [values[ids].tolist() for values in (distribution.logits, distribution.probabilities, selection.weights)]
    columns = list(zip(ids.tolist(), *numbers, strict=True))
    shares = [_shares(selection, rank, own, tempered) for rank, (_, _, own, tempered) in enumerate(columns)]
    edges = list(accumulate((share[-1] for share in shares), initial=0.0))
    total = edges[-1] if selection.count <= len(shares) else max(1.0, edges[-1])  # float32 shares sum to nearly 1
    return tuple(
        SamplerRow(
            id,
            piece(id),
            rank,
            logit,
            shares[rank],
            next((stage.name for stage in selection.stages if rank >= stage.kept), None),
            (edges[rank] / total, edges[rank + 1] / total),
        )
        for rank, (id, logit, _, _) in enumerate(columns)
    )


def _shares(selection: Selection, rank: int, own: float, tempered: float) -> tuple[float, ...]:
    """The probability of the token of a rank after each stage; 0 from the stage on that cuts it.

    `own` is its probability before temperature, `tempered` after it.
    """
    shares, present = [], own
    for stage in selection.stages:
        if stage.name == "temperature":
            present = tempered
        elif stage.name == "renormalised":
            present = tempered / selection.mass
        shares.append(present if rank < stage.kept else 0.0)
    return tuple(shares)


def _tail(distribution: Distribution, selection: Selection, rows: tuple[SamplerRow, ...]) -> SamplerTail:
    shown = len(rows)
    shares = tuple(
        max(0.0, stage.mass - math.fsum(row.shares[at] for row in rows)) if stage.kept > shown else 0.0
        for at, stage in enumerate(selection.stages)
    )
    interval = (rows[-1].interval[1], 1.0) if selection.count > shown else (1.0, 1.0)
    return SamplerTail(len(distribution.logits) - shown, max(0, selection.count - shown), shares, interval)


def _cuts(distribution: Distribution, selection: Selection, argmax: int) -> tuple[Cut, ...]:
    def cut(before: SamplerStage, after: SamplerStage) -> Cut:
        left = after.mass
        if after.name == "temperature":  # it removes nothing, except for T = 0, which leaves the argmax
            greedy = after.kept < before.kept
            left = distribution.probabilities[argmax].item() if greedy else before.mass
        mass = max(0.0, before.mass - left)
        return Cut(after.name, before.kept - after.kept, mass, mass / before.mass)

    return tuple(cut(before, after) for before, after in pairwise(selection.stages[:-1]))


def _uniform(distribution: Distribution, u: float, piece: Piece) -> Pick:
    """What `u` would draw if every token of the vocabulary had the same probability."""
    size = len(distribution.logits)
    rank = min(int(u * size), size - 1)
    token = distribution.at_rank(distribution.probabilities, rank)
    return _pick(distribution, token, 1 / size, (rank / size, (rank + 1) / size), piece)


def _pick(
    distribution: Distribution, token: RankedToken, share: float, interval: tuple[float, float], piece: Piece
) -> Pick:
    own = distribution.probabilities[token.id].item()
    return Pick(token.id, piece(token.id), token.rank, own, share, interval)


def _other_order(
    distribution: Distribution, sampler: Sampler, selection: Selection, rows: tuple[SamplerRow, ...]
) -> OtherOrder:
    order = next(order for order in ORDERS if order != sampler.order)
    other = apply_stages(distribution, replace(sampler, order=order))
    ids = [row.id for row in rows]
    only_here, only_there = ids[other.count : selection.count], ids[selection.count : other.count]
    return OtherOrder(order, other.stages, tuple(only_here), tuple(only_there))
