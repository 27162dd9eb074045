"""The next-token distribution as a chart: the likeliest tokens exactly, the tail summed."""

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
    """The `count` likeliest tokens, the rest summed, and what each stage of `sampler` keeps."""
    kept = apply_stages(distribution, sampler)
    ids = distribution.head(count)
    logits = distribution.logits[ids].tolist()
    shares = distribution.probabilities[ids].tolist()
    weights = kept.weights[ids].tolist()
    candidates = tuple(
        Candidate(id, piece(id), rank, logit, share, weight / kept.mass if rank < kept.count else 0.0)
        for rank, (id, logit, share, weight) in enumerate(zip(ids.tolist(), logits, shares, weights, strict=True))
    )
    sampled = math.fsum(candidate.sampled_probability for candidate in candidates)
    return Chart(
        candidates=candidates,
        others_count=len(distribution.logits) - len(candidates),
        others_probability=max(0.0, 1.0 - math.fsum(shares)),
        others_sampled=max(0.0, 1.0 - sampled) if kept.count > count else 0.0,
        entropy_bits=distribution.entropy_bits,
        stages=kept.stages,
        taken=None if taken is None else _candidate(distribution, kept, taken, piece),
    )


def _candidate(distribution: Distribution, kept: Selection, id: int, piece: Callable[[int], bytes]) -> Candidate:
    score = distribution.score(id)
    rank = score.rank + int((distribution.logits[:id] == score.logit).sum())
    sampled = kept.weights[id].item() / kept.mass if rank < kept.count else 0.0
    return Candidate(id, piece(id), rank, score.logit, score.probability, sampled)
