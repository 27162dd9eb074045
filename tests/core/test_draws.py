"""Draws follow the probabilities: chi-square at 200,000 draws, against float64 and against torch.multinomial.

Every seed is fixed, so a p-value here is one number; 0.001 is where a fair sampler would be doubted.
"""

import random
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from core.sampling.apply import apply_stages
from core.sampling.context import DrawContext
from core.sampling.distribution import Distribution
from core.sampling.draw import chance, draw, uniform
from core.sampling.sampler import Sampler
from core.sampling.stages.temp import Temperature
from core.sampling.stages.top_k import TopK
from core.sampling.stages.top_p import TopP
from core.sampling.stages.xtc import Xtc

DRAWS = 200_000
DOUBT = 1e-3


def p_value(statistic: float, freedom: int) -> float:
    """The chance of a chi-square statistic at least this large: Q(k/2, x/2), the regularised incomplete gamma."""
    halves = torch.tensor([freedom / 2, statistic / 2], dtype=torch.float64)
    return torch.special.gammaincc(halves[0], halves[1]).item()


def fit(counts: Tensor, probabilities: Tensor) -> float:
    """p-value of counts under probabilities (Pearson); a token of probability 0 must have count 0."""
    possible = probabilities > 0
    assert not counts[~possible].any()
    expected = counts.sum() * probabilities[possible]
    assert expected.min() >= 5
    return p_value(((counts[possible] - expected) ** 2 / expected).sum().item(), int(possible.sum()) - 1)


def same_source(one: Tensor, other: Tensor) -> float:
    """p-value of two equally large samples having come from one distribution."""
    seen = one + other > 0
    differences = (one[seen] - other[seen]) ** 2 / (one[seen] + other[seen])
    return p_value(differences.sum().item(), int(seen.sum()) - 1)


@pytest.fixture(scope="module")
def us() -> list[float]:
    """The u of 200,000 positions of one walk, ascending."""
    return sorted(uniform(seed=0, position=position) for position in range(DRAWS))


def drawn_ids(
    distribution: Distribution, sampler: Sampler, us: Sequence[float], context: DrawContext = DrawContext()
) -> list[int]:
    """`draw` at each of ascending `us`. If both ends of an interval draw one token, so does all between."""
    ids = [-1] * len(us)

    def fill(first: int, last: int) -> None:
        for end in (first, last):
            if ids[end] < 0:
                ids[end] = draw(distribution, sampler, us[end], context).id
        if ids[first] == ids[last]:
            ids[first : last + 1] = [ids[first]] * (last + 1 - first)
        elif last - first > 1:
            middle = (first + last) // 2
            fill(first, middle)
            fill(middle, last)

    if us:
        fill(0, len(us) - 1)
    return ids


LOGITS = 0.8 * torch.randn(50, generator=torch.Generator().manual_seed(3))
COARSE = LOGITS.mul(2).round().div(2)  # many ties
SAMPLERS = [
    Sampler(),
    Sampler.of(temperature=0.6),
    Sampler.of(temperature=2.0),
    Sampler.of(top_k=12),
    Sampler.of(top_p=0.8),
    Sampler.of(temperature=0.8, top_k=30, top_p=0.9),
]


def expected(logits: Tensor, sampler: Sampler) -> Tensor:
    """What is drawn from, [V] in float64: temperature, the k first, the fewest of them with share p, renormalised."""
    weights = torch.softmax(logits.double() / sampler.value(Temperature), dim=0)
    order = sorted(range(len(logits)), key=lambda id: (-logits[id].item(), id))
    order = order[: int(sampler.value(TopK)) or len(order)]
    top_p = sampler.value(TopP)
    target, mass, count = top_p * weights[order].sum().item(), 0.0, 0
    while top_p < 1 and mass < target:
        mass += weights[order[count]].item()
        count += 1
    order = order[: count or len(order)]
    selected = torch.zeros_like(weights)
    selected[order] = weights[order]
    return selected / selected.sum()


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
@pytest.mark.parametrize("logits", [LOGITS, COARSE], ids=["spread", "ties"])
def test_200_000_draws_fit_their_probabilities(logits: Tensor, sampler: Sampler, us: list[float]) -> None:
    """Counts of seeded draws against float64 probabilities, and against as many draws of torch.multinomial."""
    probabilities = expected(logits, sampler)
    counts = torch.bincount(torch.tensor(drawn_ids(Distribution(logits), sampler, us)), minlength=50)
    assert counts.sum() == DRAWS
    assert fit(counts, probabilities) > DOUBT
    generator = torch.Generator().manual_seed(1)
    torchs = torch.bincount(probabilities.multinomial(DRAWS, replacement=True, generator=generator), minlength=50)
    assert fit(torchs, probabilities) > DOUBT
    assert same_source(counts, torchs) > DOUBT


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_the_values_of_u_that_draw_one_token_form_an_interval(sampler: Sampler, us: list[float]) -> None:
    """3,000 draws one by one equal those inferred from the ends of intervals."""
    distribution = Distribution(COARSE)
    quick = drawn_ids(distribution, sampler, us)
    for position in random.Random(0).sample(range(DRAWS), 3000):
        assert draw(distribution, sampler, us[position]).id == quick[position]


@pytest.mark.parametrize(
    "stages", ["xtc=0.4:0.03,temp=1.3", "penalty=1.5,typical=0.9,xtc=0.7:0.02", "dry=1:2:1,top_n_sigma=2,dynatemp=0.6"]
)
def test_draws_through_stages_fit_their_probabilities(stages: str) -> None:
    """20,000 positions, each with its own u and its own chance of XTC, against the mixture of both outcomes."""
    sampler, distribution = Sampler.read(stages), Distribution(LOGITS)
    share = sampler.value(Xtc)
    positions: dict[bool, list[float]] = {True: [], False: []}  # the u of each, by whether its chance applies XTC
    for position in range(20_000):
        positions[chance(0, position) < share].append(uniform(0, position))
    counts, expected = torch.zeros(50), torch.zeros(50, dtype=torch.float64)
    for applied, us in positions.items():
        context = DrawContext(ids=[3, 9, 3, 11, 9, 3], chance=0.0 if applied else share, tokens=Numbers())
        us.sort()
        ids = drawn_ids(distribution, sampler, us, context)
        assert ids[::50] == [draw(distribution, sampler, u, context).id for u in us[::50]]
        counts += torch.bincount(torch.tensor(ids, dtype=torch.int64), minlength=50)
        outcome = torch.from_numpy(apply_stages(distribution, sampler, context).selection.spread(50))
        expected += (share if applied else 1 - share) * outcome.double()
    assert fit(counts, expected) > DOUBT


class Numbers:
    """A vocabulary of numbers."""

    vocab_size = 50

    def encode(self, text: str) -> list[int]:
        return [int(text)]

    def piece(self, id: int) -> bytes:
        return b"%d" % id


def test_the_fit_test_detects_a_wrong_sampler(us: list[float]) -> None:
    """The same counts are rejected under a temperature 3 % off, a top-k one off, uniform and argmax."""
    counts = torch.bincount(torch.tensor(drawn_ids(Distribution(LOGITS), Sampler(), us)), minlength=50)
    assert fit(counts, expected(LOGITS, Sampler())) > DOUBT
    assert fit(counts, expected(LOGITS, Sampler.of(temperature=1.03))) < 1e-6
    assert fit(counts, torch.full((50,), 1 / 50, dtype=torch.float64)) < 1e-6
    twelve = torch.bincount(torch.tensor(drawn_ids(Distribution(LOGITS), Sampler.of(top_k=12), us)), minlength=50)
    assert int((twelve > 0).sum()) == len(apply_stages(Distribution(LOGITS), Sampler.of(top_k=12)).selection) == 12
    assert same_source(counts, twelve) < 1e-6


# The uniform numbers ------------------------------------------------------------------------------------------------


def test_u_is_uniform_between_0_and_1(us: list[float]) -> None:
    """1,000 equal parts of [0, 1) get equal counts; 0 is possible and 1 is not."""
    values = torch.tensor(us, dtype=torch.float64)
    assert values.min() >= 0
    assert values.max() < 1
    counts = torch.bincount((values * 1000).long(), minlength=1000)
    assert fit(counts, torch.full((1000,), 1e-3, dtype=torch.float64)) > DOUBT


@pytest.mark.parametrize("what", ["place", "seed", "redraw"])
def test_neighboring_values_of_u_are_uncorrelated(what: str) -> None:
    """Pairs of u with the next position, seed or redraw fill the unit square evenly."""
    pairs = []
    for n in range(10_000):
        step = {"place": (7, n, 0, 7, n + 1, 0), "seed": (n, 5, 0, n + 1, 5, 0), "redraw": (7, 5, n, 7, 5, n + 1)}[what]
        pairs.append((uniform(*step[:3]), uniform(*step[3:])))
    cells = (torch.tensor(pairs, dtype=torch.float64) * 20).long()
    counts = torch.bincount(20 * cells[:, 0] + cells[:, 1], minlength=400)
    assert fit(counts, torch.full((400,), 1 / 400, dtype=torch.float64)) > DOUBT


def test_u_depends_only_on_seed_position_and_redraw() -> None:
    """Asking again, in another order and after other random numbers, gives the same u."""
    asked = [(seed, position, redraw) for seed in (0, 1, -5, 2**70) for position in (0, 1, 10) for redraw in (0, 1, 10)]
    first = [uniform(*each) for each in asked]
    random.seed(1)
    random.random()
    torch.manual_seed(1)
    assert [uniform(*each) for each in reversed(asked)] == first[::-1]
    assert len(set(first)) == len(asked)
    assert uniform(3, 4) == uniform(3, 4, 0)


def test_u_does_not_change_the_global_generators() -> None:
    """The random numbers of Python and torch continue as if nothing had been drawn."""
    random.seed(8)
    torch.manual_seed(8)
    want = random.random(), torch.rand(2).tolist()
    random.seed(8)
    torch.manual_seed(8)
    draw(Distribution(LOGITS), Sampler(), uniform(0, 0))
    assert (random.random(), torch.rand(2).tolist()) == want


PINNED = [0.25618182591686633, 0.8567218348257234, 0.8929734384349594, 0.6131461117710783]


def test_u_is_the_same_on_every_machine() -> None:
    """Saved walks must replay anywhere, so these numbers never change."""
    assert [uniform(0, 0), uniform(0, 1), uniform(1, 0), uniform(0, 0, 1)] == PINNED
