"""The distribution of the next token, its entropy, ranks and masses, compared with float64 and a full sort."""

import math

import pytest
import torch
from naive_sampler import INF, LOGITS, in_order, normal, reference
from torch import Tensor

from core.errors import UserError
from core.sampling.apply import apply_stages
from core.sampling.distribution import Distribution, scores
from core.sampling.sampler import Sampler


@pytest.fixture(params=LOGITS)
def logits(request: pytest.FixtureRequest) -> Tensor:
    return LOGITS[request.param]


# The distribution -----------------------------------------------------------------------------------------------------


def test_probabilities_are_softmax(logits: Tensor) -> None:
    """Probabilities equal those in float64 and sum to 1."""
    distribution = Distribution(logits)
    want = torch.softmax(logits.double(), dim=0)
    assert (distribution.probabilities.double() - want).abs().max() < 1e-6
    assert distribution.probabilities.double().sum().item() == pytest.approx(1, abs=1e-5)
    assert distribution.probabilities.dtype == torch.float32


def test_the_normalizer_is_logsumexp(logits: Tensor) -> None:
    """log Σ exp(logit) as float64 has it, however far from 0 the logits are."""
    want = torch.logsumexp(logits.double(), dim=0).item()
    assert Distribution(logits).log_total == pytest.approx(want, abs=1e-5, rel=1e-12)


def entropy(logits: Tensor) -> float:
    p = torch.softmax(logits.double(), dim=0)
    return -torch.special.xlogy(p, p).sum().item() / math.log(2)


def test_entropy_is_the_sum_of_p_log_p(logits: Tensor) -> None:
    """H in bits as float64 has it, to a ten-thousandth of a bit."""
    assert Distribution(logits).entropy_bits == pytest.approx(entropy(logits), abs=1e-4)


@pytest.mark.parametrize("shift", [-1e4, -100.0, -30.0, 30.0, 100.0, 1e4])
def test_entropy_does_not_change_when_a_constant_is_added_to_the_logits(shift: float) -> None:
    """Trained models put all logits near -30 or -100: the entropy is the same as around 0."""
    shifted = normal(100_277, 3.0, seed=11, shift=shift)
    assert Distribution(shifted).entropy_bits == pytest.approx(entropy(shifted), abs=1e-4)


def test_entropy_of_equal_logits_is_log2_v() -> None:
    """A closed form at both ends: log2 V for equal logits, 0 for a certain token."""
    for count in (1, 2, 1000, 100_277):
        assert Distribution(torch.zeros(count)).entropy_bits == pytest.approx(math.log2(count), abs=1e-4)
    assert Distribution(torch.tensor([200.0, 0.0, 0.0])).entropy_bits == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_bf16_and_fp16_logits_are_converted_to_fp32_first(dtype: torch.dtype) -> None:
    """16-bit logits get a float32 softmax, not a 16-bit one."""
    rounded = normal(3000, 2.0, seed=12).to(dtype)
    distribution = Distribution(rounded)
    assert torch.equal(distribution.logits, rounded.float())
    assert (distribution.probabilities.double() - torch.softmax(rounded.double(), dim=0)).abs().max() < 1e-7


@pytest.mark.parametrize(
    "bad",
    [
        [math.nan],
        [math.nan, 1.0],
        [1.0, math.nan],
        [1.0, math.nan, -INF],
        [INF],
        [1.0, INF],
        [INF, INF],
        [INF, -INF],
        [INF, math.nan],
        [-INF],
        [-INF, -INF],
    ],
)
def test_nan_and_infinite_logits_are_user_errors(bad: list[float]) -> None:
    """NaN or +inf anywhere, or only -inf: an error of one line instead of a wrong draw."""
    with pytest.raises(UserError) as error:
        Distribution(torch.tensor(bad))
    assert len(str(error.value).splitlines()) == 1


def test_scores_are_log_softmax(logits: Tensor) -> None:
    """logit, ln p, entropy and rank of single tokens, likely and unlikely ones."""
    exact = torch.log_softmax(logits.double(), dim=0)
    distribution, order = Distribution(logits), in_order(logits)
    for id in {order[0], order[-1], order[len(order) // 2], 0, len(order) - 1}:
        score = distribution.score(id)
        assert score.logit == logits[id].item()
        assert score.logprob == pytest.approx(exact[id].item(), abs=1e-5, rel=1e-9)
        assert score.probability == pytest.approx(exact[id].exp().item(), abs=1e-6)
        assert score.rank == sum(other > score.logit for other in logits.tolist())
        assert score.entropy_bits == distribution.entropy_bits
        assert score.surprisal_bits == pytest.approx(-exact[id].item() / math.log(2), abs=1e-4, rel=1e-9)


def test_scores_use_the_row_of_each_id() -> None:
    """Row i of [n, V] scores id i."""
    rows = torch.stack([normal(50, 2.0, seed) for seed in range(4)])
    ids = [3, 0, 49, 7]
    exact = torch.log_softmax(rows.double(), dim=1)
    got = [score.logprob for score in scores(rows, ids)]
    assert got == pytest.approx([exact[row, id].item() for row, id in enumerate(ids)], abs=1e-6)


# The order ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 20, 999, 100_277])
def test_head_equals_the_start_of_a_full_sort(logits: Tensor, count: int) -> None:
    """Likeliest first and equal ones by id, at every length, also within a tie."""
    assert Distribution(logits).head(count).tolist() == in_order(logits)[:count]


def test_ties_are_ordered_by_id_at_every_count() -> None:
    """Logits rounded to a few values: each head is the start of the next one."""
    coarse = normal(300, 1.0, seed=13).mul(2).round()
    distribution, order = Distribution(coarse), in_order(coarse)
    assert len(coarse.unique()) < 20
    for count in range(1, 301):
        assert distribution.head(count).tolist() == order[:count]


TARGETS = [0.0, 1e-12, 0.001, 0.1, 0.25, 0.5, 0.73, 0.9, 0.95, 0.999, 0.999999, 1 - 2**-53, 1.0]


@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
def test_at_mass_equals_a_full_sort(logits: Tensor, temperature: float) -> None:
    """The cumulative mass in float64 passes the target at the returned token."""
    distribution = Distribution(logits)
    weights = reference(logits, temperature).in_ids().float()
    order = in_order(logits)
    through = weights.double()[order].cumsum(0).tolist()
    between = [x for n in (0, len(order) // 2, -1) for x in (through[n] - 1e-9, through[n] + 1e-9)]
    for target in TARGETS + [x for x in between if x >= 0]:
        found = distribution.at_mass(target, weights.numpy())
        assert found.at == order[found.rank]
        assert found.cumulative == pytest.approx(through[found.rank], abs=1e-12)
        assert weights[found.at] > 0
        reached = min(target, through[-1])
        assert through[found.rank] > reached - 1e-12
        assert found.rank == 0 or through[found.rank - 1] < reached + 1e-12


@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
def test_at_rank_equals_a_full_sort(logits: Tensor, temperature: float) -> None:
    """Id and mass at ranks from the first to the last, inside ties and out."""
    distribution = Distribution(logits)
    weights = reference(logits, temperature).in_ids().float()
    order = in_order(logits)
    through = weights.double()[order].cumsum(0).tolist()
    last = len(order) - 1
    for rank in sorted({0, 1, 2, 19, 99, last // 3, last // 2, last - 1, last} & set(range(last + 1))):
        found = distribution.at_rank(rank, weights.numpy())
        assert (found.at, found.rank) == (order[rank], rank)
        assert found.cumulative == pytest.approx(through[rank], abs=1e-12)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_mass_count_is_the_fewest_tokens_with_a_share(logits: Tensor, share: float) -> None:
    """The fewest likeliest tokens with that much of the model's own probability, against a sort."""
    count = Distribution(logits).mass_count(share)
    through = reference(logits).through.tolist()
    assert through[count - 1] > share - 1e-5
    assert count == 1 or through[count - 2] < share + 1e-5


@pytest.mark.parametrize("count", [2, 4, 64, 1024])
def test_mass_count_takes_no_extra_token_for_an_exact_share(count: int) -> None:
    """Of 2^n equal tokens half of them hold one half: sums of powers of two are exact, so there is nothing to round."""
    even = Distribution(torch.zeros(count))
    assert even.mass_count(0.5) == count // 2
    assert len(apply_stages(even, Sampler.of(top_p=0.5)).selection) == count // 2
    assert even.mass_count(1 / count) == 1
    assert even.mass_count(1.0) == count
