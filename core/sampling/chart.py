"""The chart of a next-token distribution: the likeliest tokens one by one, the others summed."""

import math
from collections.abc import Callable

from core.errors import UserError
from core.sampling.apply import Applied, apply_stages
from core.sampling.context import DrawContext
from core.sampling.distribution import Distribution
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate, Chart

MODELS_OWN = 6
"""Of the model's likeliest tokens, those that are listed in any case."""


def chart(
    distribution: Distribution,
    sampler: Sampler,
    count: int,
    piece: Callable[[int], bytes],
    taken: int | None = None,
    context: DrawContext = DrawContext(),
) -> Chart:
    """The `count` likeliest tokens, the others summed, and what each stage of `sampler` leaves.

    Where the stages leave few of them, as a mask does, the likeliest that can be drawn take the places after the first.
    `piece` gives the bytes of an id; `taken` is the id of the next token of the walk, if there is one.
    """
    applied = apply_stages(distribution, sampler, context)
    ranked = _listed(applied, count)
    ids = list(ranked)
    logits, shares = distribution.scores[ids].tolist(), distribution.shares[ids].tolist()
    final = sampled_probabilities(applied, ids)
    candidates = tuple(
        Candidate(id, piece(id), ranked[id], logit, share, sampled)
        for id, logit, share, sampled in zip(ids, logits, shares, final, strict=True)
    )
    others = len(distribution.scores) - len(candidates)
    drawable = sum(sampled > 0 for sampled in final) < len(applied.selection) and not applied.problem
    return Chart(
        candidates=candidates,
        others_count=others,
        others_probability=max(0.0, 1.0 - math.fsum(shares)),
        others_sampled=max(0.0, 1.0 - math.fsum(final)) if drawable and others else 0.0,
        entropy_bits=distribution.entropy_bits,
        stages=applied.effects(),
        kept=0 if applied.problem else len(applied.selection),
        problem=str(UserError(*applied.problem)) if applied.problem else "",
        taken=None if taken is None else _candidate(applied, taken, piece),
    )


def _listed(applied: Applied, count: int) -> dict[int, int]:
    """The ids to list with their ranks, in the order of the model."""
    distribution, selection = applied.distribution, applied.selection
    likeliest = distribution.first(count).tolist()
    ranks = {id: rank for rank, id in enumerate(likeliest)}
    if applied.problem or len(selection) == len(distribution.scores) or count <= MODELS_OWN:
        return ranks
    if math.fsum(map(selection.probability, likeliest)) >= 0.5:
        return ranks
    drawable = selection.ids[selection.ranking.first(min(count - MODELS_OWN, len(selection)))].tolist()
    listed = {id: ranks[id] if id in ranks else distribution.rank(id) for id in drawable}
    missing = [id for id in likeliest if id not in listed][: count - len(listed)]
    listed |= {id: ranks[id] for id in missing}
    return dict(sorted(listed.items(), key=lambda each: each[1]))


def sampled_probabilities(applied: Applied, ids: list[int]) -> list[float]:
    """The probability of each of `ids` after all stages; 0 where no token can be drawn."""
    selection = applied.selection
    return [0.0 if applied.problem else selection.probability(id) for id in ids]


def _candidate(applied: Applied, id: int, piece: Callable[[int], bytes]) -> Candidate:
    distribution = applied.distribution
    score = distribution.score(id)
    (sampled,) = sampled_probabilities(applied, [id])
    return Candidate(id, piece(id), distribution.rank(id), score.logit, score.probability, sampled)
