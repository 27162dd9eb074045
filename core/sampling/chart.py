"""The chart of a next-token distribution: the likeliest tokens one by one, the others summed."""

import math
from collections.abc import Callable

from core.sampling.apply import Applied, apply_stages
from core.sampling.bounds import Bounded, between, bits, exact, high, low
from core.sampling.context import DrawContext
from core.sampling.next_distribution import NextDistribution
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate, Chart

MODELS_OWN = 6
"""Of the model's likeliest tokens, those that are listed in any case."""


def chart(
    distribution: NextDistribution,
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
    shares = distribution.probabilities_of(ids)
    final = sampled_probabilities(applied, ids)
    candidates = tuple(
        Candidate(id, piece(id), ranked[id], logit, share, sampled)
        for id, logit, share, sampled in zip(ids, distribution.logits_of(ids), shares, final, strict=True)
    )
    others = distribution.vocab_size - len(candidates)
    return Chart(
        candidates=candidates,
        others_count=others,
        others_probability=max(0.0, 1.0 - math.fsum(shares)),
        others_sampled=_rest(applied, final) if others else 0.0,
        entropy_bits=distribution.entropy_bits,
        stages=applied.effects(),
        kept=0 if applied.error else applied.selection.count,
        problem=applied.problem,
        taken=None if taken is None else _candidate(applied, taken, piece),
        known=distribution.known if distribution.known < distribution.vocab_size else None,
        unknown_probability=distribution.rest,
        from_logprobs=distribution.from_logprobs,
        sampled_entropy_bits=_sampled_entropy(applied),
    )


def _sampled_entropy(applied: Applied) -> Bounded | None:
    if applied.error or applied.selection is applied.before:
        return None
    return bits(applied.selection.entropy_nats)


def _rest(applied: Applied, final: list[Bounded]) -> Bounded:
    """The probability after the stages that tokens which are not listed have."""
    if applied.error or sum(low(sampled) > 0 for sampled in final) >= high(applied.selection.count):
        return 0.0
    return between(*(max(0.0, 1.0 - math.fsum(map(end, final))) for end in (high, low)))


def _listed(applied: Applied, count: int) -> dict[int, int]:
    """The ids to list with their ranks, in the order of the model."""
    distribution, selection = applied.distribution, applied.selection
    likeliest = distribution.first(count).tolist()
    ranks = {id: rank for rank, id in enumerate(likeliest)}
    if applied.error or high(selection.count) == distribution.vocab_size or count <= MODELS_OWN:
        return ranks
    if math.fsum(low(selection.probability(id)) for id in likeliest) >= 0.5:
        return ranks
    drawable = selection.first_ids(count - MODELS_OWN)
    listed = {id: ranks[id] if id in ranks else int(low(distribution.rank(id))) for id in drawable}
    missing = [id for id in likeliest if id not in listed][: count - len(listed)]
    listed |= {id: ranks[id] for id in missing}
    return dict(sorted(listed.items(), key=lambda each: each[1]))


def sampled_probabilities(applied: Applied, ids: list[int]) -> list[Bounded]:
    """The probability of each of `ids` after all stages; 0 where no token can be drawn."""
    return [0.0 if applied.error else applied.selection.probability(id) for id in ids]


def _candidate(applied: Applied, id: int, piece: Callable[[int], bytes]) -> Candidate:
    """A token that may be unknown; then its numbers are the ends of what they can be."""
    score, rank = applied.distribution.score(id), applied.distribution.rank(id)
    (sampled,) = sampled_probabilities(applied, [id])
    return Candidate(
        id, piece(id), int(low(rank)), high(score.logit), high(score.probability), sampled, known=exact(score.logprob)
    )
