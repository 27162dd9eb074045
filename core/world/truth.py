"""Owns the truth beside a model's distribution, where it is known: in the tiny world."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from core.sampling.distribution import Distribution
from core.sampling.divergence import kl_bits_from_logprobs
from core.sampling.values import Candidate, Chart
from core.tokenizers.tokenizer import Tokenizer
from core.world import tiny


class KnownTruth:
    """What truly comes next in the walks of one session."""

    def __init__(self) -> None:
        self._known = tiny.TrueDistribution()

    def beside(self, chart: Chart, distribution: Distribution, ids: Sequence[int]) -> Chart:
        """A chart of what comes after `ids`, each candidate with its true probability; as it is where none is known.

        KL(true ‖ model) = Σ p log2(p / q) over all tokens that may come, from float32 logits.
        """
        if (shares := self._known.after(ids)) is None:
            return chart

        def told(candidate: Candidate) -> Candidate:
            return replace(candidate, true=shares.get(candidate.id, 0.0))

        ids_with_mass = list(shares)
        log_true = torch.tensor([math.log(share) for share in shares.values()], dtype=torch.float64)
        log_model = distribution.logits[ids_with_mass].double() - distribution.log_total
        return replace(
            chart,
            candidates=tuple(map(told, chart.candidates)),
            taken=told(chart.taken) if chart.taken else None,
            divergence_bits=kl_bits_from_logprobs(log_true, log_model),
        )


def known(tokenizer: Tokenizer) -> KnownTruth | None:
    """The truth of what is written in a vocabulary; None where nobody knows it."""
    return KnownTruth() if tokenizer.name == tiny.NAME else None
