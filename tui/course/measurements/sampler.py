"""Measurements of the sampler: its settings, and what it leaves to be drawn."""

from typing import Any

from core.sampling.stages.min_p import MinP
from core.sampling.stages.temp import Temperature
from core.sampling.stages.top_k import TopK
from core.sampling.stages.top_p import TopP
from tui.course.measurements.here import Here, measurement


@measurement
def temperature(here: Here) -> float:
    """T; 0 is greedy."""
    return here.session.sampler.value(Temperature)


@measurement
def top_k(here: Here) -> int:
    """How many tokens are kept; 0 keeps all."""
    return int(here.session.sampler.value(TopK))


@measurement
def top_p(here: Here) -> float:
    """The probability that is kept; 1 keeps all."""
    return here.session.sampler.value(TopP)


@measurement
def min_p(here: Here) -> float:
    """The least share of the likeliest token's probability that is kept; 0 keeps all."""
    return here.session.sampler.value(MinP)


@measurement
def seed(here: Here) -> int:
    """The seed of the draws."""
    return here.session.sampler.seed


@measurement
def greedy(here: Here) -> bool:
    """Whether the likeliest token is always taken."""
    return here.session.sampler.greedy


@measurement
def kept(here: Here) -> Any:
    """How many tokens can be drawn."""
    return here.session.chart(1).kept


@measurement
def sampled_probability(here: Here, token: str | int) -> Any:
    """The probability of a token after temperature and cuts."""
    id, chart = here.id(token), here.session.chart(here.session.info.vocab_size)
    return next((each.sampled_probability for each in chart.candidates if each.id == id), 0.0)


@measurement
def sampled_entropy_bits(here: Here) -> Any:
    """H of what is drawn from, after temperature and cuts, in bits."""
    return here.session.explain().entropies[-1]
