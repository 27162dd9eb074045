"""Adds true probabilities and KL(true ‖ model) to a chart, where the true distribution is known: in the tiny world."""

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
    """The true distribution of the next token along one sequence of ids, which may change between two calls."""

    def __init__(self) -> None:
        self._true = tiny.TrueDistribution()

    def annotate(self, chart: Chart, distribution: Distribution, ids: Sequence[int]) -> Chart:
        """`chart`, of the token after `ids`, with the true probability of each candidate and the divergence.

        KL(true ‖ model) = Σ p log2(p / q) in bits, over the tokens with p > 0; the model's q is from float32 logits.
        The chart itself is returned where the tiny world cannot produce `ids`.
        """
        if (true := self._true.after(ids)) is None:
            return chart

        def annotated(candidate: Candidate) -> Candidate:
            return replace(candidate, true=true.get(candidate.id, 0.0))

        tokens = list(true)
        log_true = torch.tensor([math.log(p) for p in true.values()], dtype=torch.float64)
        log_model = distribution.logits[tokens].double() - distribution.log_total
        return replace(
            chart,
            candidates=tuple(map(annotated, chart.candidates)),
            taken=annotated(chart.taken) if chart.taken else None,
            divergence_bits=kl_bits_from_logprobs(log_true, log_model),
        )


def known_truth(tokenizer: Tokenizer) -> KnownTruth | None:
    """The truth of texts in the tokens of a tokenizer; None for any tokenizer but that of the tiny world."""
    return KnownTruth() if tokenizer.name == tiny.NAME else None
