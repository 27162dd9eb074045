"""Owns why a token was drawn: the sampler's stages side by side, the number u, and what other ways would have taken."""

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
"""Rows at most."""

Piece = Callable[[int], bytes]


def sampler_lens(
    distribution: Distribution, sampler: Sampler, u: float, piece: Piece, count: int = ROWS
) -> SamplerLens:
    """The way of the `count` likeliest tokens, 50 at most, through every stage, and what `u` in [0, 1) draws."""
    kept = apply_stages(distribution, sampler)
    rows = _rows(distribution, kept, piece, min(count, ROWS))
    drawn = token_at(distribution, kept, u)
    share = kept.weights[drawn.id].item() / kept.mass
    through = min(1.0, drawn.through / kept.mass)
    interval = rows[drawn.rank].interval if drawn.rank < len(rows) else (max(0.0, through - share), through)
    return SamplerLens(
        sampler=sampler,
        stages=kept.stages,
        cuts=_cuts(distribution, kept, rows[0].id),
        rows=rows,
        tail=_tail(distribution, kept, rows),
        u=u,
        drawn=_pick(distribution, drawn, share, interval, piece),
        greedy=_pick(distribution, RankedToken(rows[0].id, 0, 1.0), 1.0, (0.0, 1.0), piece),
        uniform=_uniform(distribution, u, piece),
        other=_other_order(distribution, sampler, kept, rows),
    )


def _rows(distribution: Distribution, kept: Selection, piece: Piece, count: int) -> tuple[SamplerRow, ...]:
    ids = distribution.head(max(1, count))
    numbers = [values[ids].tolist() for values in (distribution.logits, distribution.probabilities, kept.weights)]
    columns = list(zip(ids.tolist(), *numbers, strict=True))
    shares = [_shares(kept, rank, own, tempered) for rank, (_, _, own, tempered) in enumerate(columns)]
    edges = list(accumulate((share[-1] for share in shares), initial=0.0))
    whole = edges[-1] if kept.count <= len(shares) else max(1.0, edges[-1])  # float32 shares add up to 1 but nearly
    return tuple(
        SamplerRow(
            id,
            piece(id),
            rank,
            logit,
            shares[rank],
            next((stage.name for stage in kept.stages if rank >= stage.kept), None),
            (edges[rank] / whole, edges[rank + 1] / whole),
        )
        for rank, (id, logit, _, _) in enumerate(columns)
    )


def _shares(kept: Selection, rank: int, own: float, tempered: float) -> tuple[float, ...]:
    """The probability of the token of that rank after each stage, 0 from the one on that cuts it."""
    found, present = [], own
    for stage in kept.stages:
        if stage.name == "temperature":
            present = tempered
        elif stage.name == "renormalised":
            present = tempered / kept.mass
        found.append(present if rank < stage.kept else 0.0)
    return tuple(found)


def _tail(distribution: Distribution, kept: Selection, rows: tuple[SamplerRow, ...]) -> SamplerTail:
    shown = len(rows)
    shares = tuple(
        max(0.0, stage.mass - math.fsum(row.shares[at] for row in rows)) if stage.kept > shown else 0.0
        for at, stage in enumerate(kept.stages)
    )
    interval = (rows[-1].interval[1], 1.0) if kept.count > shown else (1.0, 1.0)
    return SamplerTail(len(distribution.logits) - shown, max(0, kept.count - shown), shares, interval)


def _cuts(distribution: Distribution, kept: Selection, argmax: int) -> tuple[Cut, ...]:
    def cut(before: SamplerStage, after: SamplerStage) -> Cut:
        left = after.mass
        if after.name == "temperature":  # it takes none away, but for T = 0, which leaves the favourite alone
            greedy = after.kept < before.kept
            left = distribution.probabilities[argmax].item() if greedy else before.mass
        mass = max(0.0, before.mass - left)
        return Cut(after.name, before.kept - after.kept, mass, mass / before.mass)

    return tuple(cut(before, after) for before, after in pairwise(kept.stages[:-1]))


def _uniform(distribution: Distribution, u: float, piece: Piece) -> Pick:
    size = len(distribution.logits)
    rank = min(int(u * size), size - 1)
    place = distribution.at_rank(distribution.probabilities, rank)
    return _pick(distribution, place, 1 / size, (rank / size, (rank + 1) / size), piece)


def _pick(
    distribution: Distribution, place: RankedToken, share: float, interval: tuple[float, float], piece: Piece
) -> Pick:
    own = distribution.probabilities[place.id].item()
    return Pick(place.id, piece(place.id), place.rank, own, share, interval)


def _other_order(
    distribution: Distribution, sampler: Sampler, kept: Selection, rows: tuple[SamplerRow, ...]
) -> OtherOrder:
    order = next(order for order in ORDERS if order != sampler.order)
    there = apply_stages(distribution, replace(sampler, order=order))
    ids = [row.id for row in rows]
    return OtherOrder(order, there.stages, tuple(ids[there.count : kept.count]), tuple(ids[kept.count : there.count]))
