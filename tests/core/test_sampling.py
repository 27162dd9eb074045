"""Temperature, top-k, top-p, the draw and the chart, compared with float64 and a full sort."""

import math
from itertools import product

import pytest
import torch
from naive_sampler import INF, LOGITS, TEMPERATURES, in_order, normal, reference, with_holes
from torch import Tensor

from core.sampling.apply import apply_stages
from core.sampling.chart import chart
from core.sampling.distribution import Distribution
from core.sampling.draw import draw
from core.sampling.sampler import Sampler
from core.sampling.stages.temp import Temperature


@pytest.fixture(params=LOGITS)
def logits(request: pytest.FixtureRequest) -> Tensor:
    return LOGITS[request.param]


# Temperature, top-k, top-p --------------------------------------------------------------------------------------------


def final(logits: Tensor, sampler: Sampler) -> Tensor:
    """The probabilities that are drawn from, [V] in float64."""
    return torch.from_numpy(apply_stages(Distribution(logits), sampler).selection.spread(len(logits))).double()


@pytest.mark.parametrize("temperature", [0.0, *TEMPERATURES])
def test_temperature_divides_the_logits(logits: Tensor, temperature: float) -> None:
    """softmax(logits / T) as float64 has it; at T = 0 all mass is on the argmax."""
    got = final(logits, Sampler.of(temperature=temperature))
    want = reference(logits, temperature)
    assert (got[want.order] - want.tempered).abs().max() < 1e-6
    assert got.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-50, 1e-30, 1e30, 1e300])
def test_extreme_temperatures_give_finite_probabilities(temperature: float) -> None:
    """A temperature near 0 is greedy, a huge one is uniform."""
    some = torch.tensor([1.0, 2.0, 3.0, -INF, 0.0])
    want = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0] if temperature < 1 else [0.25, 0.25, 0.25, 0.0, 0.25])
    assert torch.allclose(final(some, Sampler.of(temperature=temperature)).float(), want, atol=1e-6)
    assert math.isfinite(draw(Distribution(some), Sampler.of(temperature=temperature), 0.5).sampled_probability)


@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0, 2.5])
def test_stages_equal_a_naive_float64_sampler(logits: Tensor, temperature: float) -> None:
    """Against a naive one in float64: k of the tempered tokens, then the fewest of those with share p of their mass.

    Sums that come within float32 rounding of the share may fall on either side of it.
    """
    distribution, want = Distribution(logits), reference(logits, temperature)
    size = len(logits)
    for top_k, top_p in product((0, 1, 2, 7, 40, 10**9), (1.0, 0.999, 0.9, 0.5, 0.05, 1e-9)):
        applied = apply_stages(distribution, Sampler.of(temperature=temperature, top_k=top_k, top_p=top_p))
        count = len(applied.selection)
        hot = 1 if temperature == 0 else size
        left = top_k if 0 < top_k < hot else hot
        target = top_p * want.mass(left)
        if top_p == 1:
            assert count == left
        else:
            assert 1 <= count <= left
            assert want.mass(count) > target - 1e-5
            assert want.mass(count - 1) < target + 1e-5
        effects = applied.effects()
        assert [effect.stage.NAME for effect in effects] == ["temp", "top_k", "top_p", "min_p"]
        assert [effect.kept for effect in effects] == [hot, left, count, count]
        assert [effect.removed for effect in effects] == [size - hot, hot - left, left - count, 0]
        cut = [1 - want.mass(left), 1 - want.mass(count) / want.mass(left)]
        assert [effect.removed_mass for effect in effects[1:3]] == pytest.approx(cut, abs=1e-5)
        assert [effect.moved for effect in effects[1:3]] == pytest.approx(cut, abs=1e-5)


def test_stages_apply_temperature_then_top_k_then_top_p() -> None:
    """Probabilities 0.4, 0.3, 0.2, 0.1, worked by hand: p is a share of what k left, of what the temperature made."""
    distribution = Distribution(torch.tensor([0.4, 0.3, 0.2, 0.1]).log())

    def count(**settings: float) -> int:
        return len(apply_stages(distribution, Sampler.of(**settings)).selection)  # type: ignore[arg-type]

    assert count(top_p=0.65) == 2  # 0.4 + 0.3 = 0.7
    assert count(top_k=3, top_p=0.75) == 2  # 0.7 / 0.9 = 0.78; without top-k, 0.7 would not do
    assert count(top_p=0.75) == 3
    assert count(temperature=0.5, top_p=0.8) == 2  # 16 + 9 of 30 = 0.83; at temperature 1, 0.7 would not do
    assert count(top_p=0.8) == 3


def test_top_k_keeps_exactly_k_among_ties() -> None:
    """Among equal logits exactly k tokens stay, those with the lowest ids."""
    equal = Distribution(torch.zeros(500))
    for top_k in (1, 2, 17, 499):
        kept = chart(equal, Sampler.of(top_k=top_k), 500, lambda _: b"")
        alive = [candidate.id for candidate in kept.candidates if candidate.sampled_probability > 0]
        assert alive == list(range(top_k))
        assert kept.candidates[0].sampled_probability == pytest.approx(1 / top_k)


def test_top_k_of_v_and_top_p_of_1_change_nothing(logits: Tensor) -> None:
    """k >= V and p = 1 leave every token and its probability."""
    plain = apply_stages(Distribution(logits), Sampler()).selection
    for top_k in (len(logits), len(logits) + 1, 10**9):
        kept = apply_stages(Distribution(logits), Sampler.of(top_k=top_k, top_p=1.0)).selection
        assert len(kept) == len(plain) == len(logits)
        assert (kept.probabilities == plain.probabilities).all()


# One draw -------------------------------------------------------------------------------------------------------------

SAMPLERS = [
    Sampler(),
    Sampler.of(temperature=0.4),
    Sampler.of(temperature=3.0),
    Sampler.of(top_k=5),
    Sampler.of(top_p=0.8),
    Sampler.of(temperature=0.7, top_k=40, top_p=0.95),
    Sampler.of(temperature=1e-4),
    Sampler.of(temperature=1e6, top_k=3),
]
US = [0.0, 2**-53, 1e-9, 0.1, 0.25, 1 / 3, 0.5, 0.77, 0.9, 0.999, 1 - 1e-9, 1 - 2**-53]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_draw_is_the_inverse_cdf(logits: Tensor, sampler: Sampler) -> None:
    """The token drawn is the one whose share of the kept, cumulative probability contains u, against a full sort."""
    distribution, want = Distribution(logits), reference(logits, sampler.value(Temperature))
    count = len(apply_stages(distribution, sampler).selection)
    through = (want.through[:count] / want.through[count - 1]).tolist()
    for u in US:
        drawn = draw(distribution, sampler, u)
        rank = want.order.index(drawn.id)
        assert rank < count
        assert drawn.u == u
        assert (0 if rank == 0 else through[rank - 1]) - 1e-5 < u < through[rank] + 1e-5
        share = (want.tempered[rank] / want.through[count - 1]).item()
        assert drawn.sampled_probability == pytest.approx(share, abs=1e-5)
        assert drawn.sampled_probability > 0
        assert drawn.score == distribution.score(drawn.id)


def test_growing_u_draws_ever_less_likely_tokens() -> None:
    """As u rises, the rank of the drawn token never falls."""
    spread = normal(200, 2.0, seed=14)
    order, distribution = in_order(spread), Distribution(spread)
    for sampler in SAMPLERS[:6]:
        ranks = [order.index(draw(distribution, sampler, u / 1000).id) for u in range(1000)]
        assert ranks == sorted(ranks)
        assert ranks[0] == 0


@pytest.mark.parametrize("temperature", [1.0, 0.2, 0.05, 0.03, 0.02, 0.01])
def test_no_u_draws_a_token_without_probability(temperature: float) -> None:
    """The highest u draws no token of probability 0, whether its logit is -inf or temperature made it vanish."""
    for seed in range(100):
        holes = with_holes(normal(300, 0.5 + seed % 5, seed), 7)
        distribution = Distribution(holes)
        for cuts in ({}, {"top_k": 299}, {"top_k": 20}, {"top_p": 0.999999}):
            for u in (0.0, 1 - 2**-53):
                drawn = draw(distribution, Sampler.of(temperature=temperature, **cuts), u)
                assert holes[drawn.id] > -INF
                assert drawn.sampled_probability > 0


def test_greedy_takes_the_first_argmax(logits: Tensor) -> None:
    """T = 0 takes the likeliest token, the lowest id among equals, for any u."""
    distribution = Distribution(logits)
    want = logits.tolist().index(logits.max().item())
    for u in (0.0, 0.5, 1 - 2**-53):
        drawn = draw(distribution, Sampler.of(temperature=0, top_k=50, top_p=0.5), u)
        assert (drawn.id, drawn.u, drawn.sampled_probability) == (want, None, 1.0)
        assert drawn.score == distribution.score(want)


@pytest.mark.parametrize(
    "sampler", [Sampler.of(top_k=1), Sampler.of(top_p=1e-9), Sampler.of(temperature=1e-30)], ids=str
)
def test_a_selection_of_one_token_draws_it_and_records_u(sampler: Sampler) -> None:
    """Cuts that leave only the argmax still record u, since it was drawn."""
    drawn = draw(Distribution(torch.tensor([1.0, 3.0, 3.0 - 1e-3])), sampler, 0.99)
    assert (drawn.id, drawn.u) == (1, 0.99)
    assert drawn.sampled_probability == pytest.approx(1)


# The chart ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", [Sampler.of(temperature=0), Sampler(), SAMPLERS[5]], ids=str)
@pytest.mark.parametrize("count", [1, 20, 1000])
def test_chart_candidates_and_others_sum_to_the_whole(logits: Tensor, count: int, sampler: Sampler) -> None:
    """Candidates and others sum to V tokens, to probability 1, and to 1 after the cuts."""
    drawn = chart(Distribution(logits), sampler, count, lambda id: str(id).encode())
    plain, tempered = reference(logits), reference(logits, sampler.value(Temperature))
    kept = drawn.kept
    shown = min(count, len(logits))
    assert [c.id for c in drawn.candidates] == plain.order[:shown]
    assert [c.piece for c in drawn.candidates] == [str(id).encode() for id in plain.order[:shown]]
    assert [c.rank for c in drawn.candidates] == list(range(shown))
    assert [c.logit for c in drawn.candidates] == [logits[id].item() for id in plain.order[:shown]]
    assert [c.probability for c in drawn.candidates] == pytest.approx(plain.tempered[:shown].tolist(), abs=1e-6)
    shares = tempered.tempered[:kept] / tempered.through[kept - 1]
    alive = [c.sampled_probability for c in drawn.candidates[:kept]]
    assert alive == pytest.approx(shares[:shown].tolist(), abs=1e-5)
    assert all(c.sampled_probability == 0 for c in drawn.candidates[kept:])
    assert drawn.others_count == len(logits) - shown
    assert drawn.vocab_size == len(logits)
    assert drawn.others_probability == pytest.approx(plain.tempered[shown:].sum().item(), abs=1e-5)
    assert drawn.others_sampled == pytest.approx(shares[shown:].sum().item(), abs=1e-5)
    assert math.fsum(c.probability for c in drawn.candidates) + drawn.others_probability == pytest.approx(1, abs=1e-6)
    assert math.fsum(alive) + drawn.others_sampled == pytest.approx(1, abs=1e-5)
    assert drawn.entropy_bits == Distribution(logits).entropy_bits
    assert drawn.effective == pytest.approx(2**drawn.entropy_bits)
    assert drawn.taken is None


@pytest.mark.parametrize("line", ["temp=1", "temp=0.5", "temp=0", "temp=1.7,top_p=0.9", "top_k=3", "top_k=1000000"])
def test_the_entropy_of_what_is_drawn_from_is_that_of_its_probabilities(logits: Tensor, line: str) -> None:
    """None where the stages change nothing: then it is that of the model."""
    sampler = Sampler.read(line)
    drawn = chart(Distribution(logits), sampler, 5, lambda _: b"")
    p = final(logits, sampler)
    want = -torch.special.xlogy(p, p).sum().item() / math.log(2)
    own = drawn.entropy_bits if drawn.sampled_entropy_bits is None else drawn.sampled_entropy_bits
    assert own == pytest.approx(want, abs=1e-4)
    assert drawn.sampled_entropy_bits is None or line not in ("temp=1", "top_k=1000000")


def test_a_chart_of_all_tokens_has_no_others(logits: Tensor) -> None:
    """A chart of the whole vocabulary has no others, with probability 0."""
    whole = chart(Distribution(logits), Sampler(), len(logits), lambda _: b"")
    assert whole.others_count == 0
    assert whole.others_sampled == 0
    assert whole.others_probability == pytest.approx(0, abs=1e-5)


def test_the_taken_token_is_in_the_chart_at_any_rank(logits: Tensor) -> None:
    """The taken token has its rank and probabilities, and 0 after a stage that removed it."""
    distribution, order = Distribution(logits), in_order(logits)
    sampler = Sampler.of(temperature=0.8, top_k=10)
    whole = chart(distribution, sampler, len(logits), lambda _: b"x")
    for rank in sorted({0, 1, 9, 10, len(order) // 2, len(order) - 1} & set(range(len(order)))):
        taken = chart(distribution, sampler, 1, lambda _: b"x", taken=order[rank]).taken
        assert taken is not None
        assert (taken.id, taken.rank, taken.piece) == (order[rank], rank, b"x")
        assert taken.logit == whole.candidates[rank].logit
        assert taken.probability == pytest.approx(whole.candidates[rank].probability, abs=1e-6)
        assert taken.sampled_probability == pytest.approx(whole.candidates[rank].sampled_probability, abs=1e-9)
        assert (taken.sampled_probability > 0) == (rank < 10 and whole.candidates[rank].sampled_probability > 0)


def test_changing_a_setting_and_back_changes_nothing() -> None:
    """One distribution under many samplers gives what a new distribution gives each time."""
    logits = LOGITS["ties of bf16"]
    kept = Distribution(logits)
    for sampler in [*SAMPLERS, *reversed(SAMPLERS), Sampler.of(temperature=0), Sampler()]:
        assert chart(kept, sampler, 20, lambda _: b"") == chart(Distribution(logits), sampler, 20, lambda _: b"")
