"""The chart of a next-token distribution: the likeliest tokens one by one, the others summed."""

import math
from collections.abc import Callable

from core.sampling.distribution import Distribution
from core.sampling.sampler import Sampler
from core.sampling.stages import Selection, apply_stages
from core.sampling.values import Candidate, Chart


def chart(
    distribution: Distribution,
    sampler: Sampler,
    count: int,
    piece: Callable[[int], bytes],
    taken: int | None = None,
) -> Chart:
    """The `count` likeliest tokens, the others summed, and what each stage of `sampler` leaves.

    `piece` gives the bytes of an id; `taken` is the id of the next token of the walk, if there is one.
    """
    selection = apply_stages(distribution, sampler)
    ids = distribution.head(count)
    logits = distribution.logits[ids].tolist()
    shares = distribution.probabilities[ids].tolist()
    weights = selection.weights[ids].tolist()
    candidates = tuple(
        Candidate(id, piece(id), rank, logit, share, weight / selection.mass if rank < selection.count else 0.0)
        for rank, (id, logit, share, weight) in enumerate(zip(ids.tolist(), logits, shares, weights, strict=True))
    )
    sampled = math.fsum(candidate.sampled_probability for candidate in candidates)
    return Chart(
        candidates=candidates,
        others_count=len(distribution.logits) - len(candidates),
        others_probability=max(0.0, 1.0 - math.fsum(shares)),
        others_sampled=max(0.0, 1.0 - sampled) if selection.count > count else 0.0,
        entropy_bits=distribution.entropy_bits,
        stages=selection.stages,
        taken=None if taken is None else _candidate(distribution, selection, taken, piece),
    )


def _candidate(distribution: Distribution, selection: Selection, id: int, piece: Callable[[int], bytes]) -> Candidate:
    score = distribution.score(id)
    rank = score.rank + int((distribution.logits[:id] == score.logit).sum())
    sampled = selection.weights[id].item() / selection.mass if rank < selection.count else 0.0
    return Candidate(id, piece(id), rank, score.logit, score.probability, sampled)
