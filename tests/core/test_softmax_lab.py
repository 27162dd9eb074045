"""Experiments with the softmax: extreme logits in float32, each number against float64 or a closed form."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from core.sampling.softmax import softmax_lab

some = st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=32)


@given(some)
def test_softmax_with_the_maximum_subtracted_is_always_finite(logits: list[float]) -> None:
    """Shares equal float64 for any logits; no power exceeds 1 and one of them is 1."""
    lab = softmax_lab(logits)
    want = torch.softmax(torch.tensor(logits, dtype=torch.float64), 0).tolist()
    assert lab.stable.works
    assert lab.stable.shares == pytest.approx(want, abs=1e-6)
    assert max(lab.stable.powers) == 1
    assert 1 <= lab.stable.total <= len(logits) + 1e-5


@given(some)
def test_naive_softmax_is_equal_or_not_finite(logits: list[float]) -> None:
    """Beyond ln of the largest float32 (88.7) a power is ∞; below -104 all are 0 and the sum is 0."""
    naive = softmax_lab(logits).naive
    if max(logits) > 88.8:
        assert math.inf in naive.powers
        assert not naive.works
    elif max(logits) < -104:
        assert naive.total == 0
        assert all(math.isnan(share) for share in naive.shares)
    elif -80 < max(logits) < 85:
        want = torch.softmax(torch.tensor(logits, dtype=torch.float64), 0).tolist()
        assert naive.shares == pytest.approx(want, abs=1e-5)


def test_naive_softmax_overflows_and_underflows_where_float32_does() -> None:
    """Three logits around 1,000: ∞ / ∞ is NaN, 0 / ∞ is 0; with the maximum subtracted, 1 : 1/e : 1/e²."""
    lab = softmax_lab([1000.0, 999.0, -1000.0])
    assert lab.naive.powers == (math.inf, math.inf, 0.0)
    assert [math.isnan(share) for share in lab.naive.shares] == [True, True, False]
    assert lab.stable.shares == pytest.approx((1 / (1 + math.exp(-1)), 1 / (1 + math.e), 0), abs=1e-7)
    assert lab.logits == (1000.0, 999.0, -1000.0)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=32))
def test_repeated_softmax_approaches_uniform(logits: list[float]) -> None:
    """Each repetition equals float64, is no further from 1/n than the one before, and the tenth is there."""
    lab = softmax_lab(logits, repetitions=(10, 1, 2, 3))
    even, x = 1 / len(logits), torch.tensor(logits, dtype=torch.float64)
    distance = math.inf
    for turn in range(1, 11):
        x = torch.softmax(x, 0)
        for found in lab.repeated:
            if found.setting == turn:
                assert found.shares == pytest.approx(x.tolist(), abs=1e-5)
                further = max(abs(share - even) for share in found.shares)
                assert further <= distance + 1e-6
                distance = further
    assert [found.setting for found in lab.repeated] == [1, 2, 3, 10]
    assert distance < 0.01
    assert lab.repeated[-1].entropy_bits == pytest.approx(math.log2(len(logits)), abs=0.01)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=32))
def test_entropy_rises_with_temperature(logits: list[float]) -> None:
    """softmax(x / T) as float64 has it; entropy rises with T."""
    found = softmax_lab(logits).temperatures
    for each in found:
        want = torch.softmax(torch.tensor(logits, dtype=torch.float32).double() / each.setting, 0)
        assert each.shares == pytest.approx(want.tolist(), abs=1e-5)
        entropy = -torch.special.xlogy(want, want).sum().item() / math.log(2)
        assert each.entropy_bits == pytest.approx(entropy, abs=1e-4)
    bits = [each.entropy_bits for each in found]
    assert all(after >= before - 1e-4 for before, after in pairwise(bits))


@pytest.mark.parametrize("logits", [[], [0.0] * 33, [math.nan], [math.inf], [1e39]])
def test_bad_logits_are_user_errors(logits: list[float]) -> None:
    with pytest.raises(UserError):
        softmax_lab(logits)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_of_0_is_a_user_error_in_the_lab(temperature: float) -> None:
    with pytest.raises(UserError, match="above 0"):
        softmax_lab([1.0], temperatures=(temperature,))


def test_other_tokens_take_part_in_repetitions_and_temperatures() -> None:
    """The shares of the first tokens are theirs among all; the table of the first two ways is of these alone."""
    logits = torch.randn(500, generator=torch.Generator().manual_seed(0)) * 4
    lab = softmax_lab(logits[:8].tolist(), others=logits[8:])
    assert lab.count == 500
    for shown in lab.temperatures:
        want = torch.softmax(logits.double() / shown.setting, 0)
        assert shown.shares == pytest.approx(want[:8].tolist(), abs=1e-6)
        assert shown.entropy_bits == pytest.approx(-(want * want.clamp_min(1e-300).log2()).sum().item(), abs=1e-4)
    once = next(each for each in lab.repeated if each.setting == 1)
    assert once.shares == pytest.approx(torch.softmax(logits.double(), 0)[:8].tolist(), abs=1e-6)
    assert sum(lab.stable.shares) == pytest.approx(1, abs=1e-6)
