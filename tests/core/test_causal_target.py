"""The measure of a causal experiment against torch in float64."""

import pytest
import torch

from core.causal.target import Target

LOGITS = torch.linspace(-3, 4, 30, dtype=torch.float64).reshape(3, 10).sin() * 5


def test_a_pair_measures_the_difference_of_logits_and_of_log_probabilities() -> None:
    logprobs = LOGITS.log_softmax(-1)
    for scale in ("logit", "logprob"):
        measured = Target(7, 2, scale).measure(LOGITS)
        assert measured.tolist() == pytest.approx((logprobs[:, 7] - logprobs[:, 2]).tolist(), abs=1e-12)


def test_a_single_token_measures_its_logit_or_its_log_probability() -> None:
    assert Target(4).measure(LOGITS).tolist() == LOGITS[:, 4].tolist()
    expected = LOGITS.log_softmax(-1)[:, 4]
    assert Target(4, scale="logprob").measure(LOGITS).tolist() == pytest.approx(expected.tolist(), abs=1e-12)
