"""Measurements of a next-token distribution: that of the walk, or with `model=` and `prompt=` another one."""

from typing import Any

from core.errors import UserError
from core.language import _
from tui.course.measurements.here import Here, measurement


@measurement
def entropy_bits(here: Here, *, model: str | None = None, prompt: str | None = None) -> Any:
    """H, in bits."""
    return here.distribution(model, prompt).entropy_bits


@measurement
def effective(here: Here, *, model: str | None = None, prompt: str | None = None) -> Any:
    """2^H: how many equally likely tokens have the same entropy."""
    entropy: Any = here.distribution(model, prompt).entropy_bits
    return 2**entropy


@measurement
def mass90(here: Here, *, model: str | None = None, prompt: str | None = None) -> Any:
    """How many of the likeliest tokens have 90 % of the probability together."""
    return here.distribution(model, prompt).mass_count(0.9)


@measurement
def probability(here: Here, token: str | int, *, model: str | None = None, prompt: str | None = None) -> Any:
    """The probability of a token, before temperature and cuts."""
    return here.distribution(model, prompt).probabilities_of([here.id(token, model)])[0]


@measurement
def logit(here: Here, token: str | int, *, model: str | None = None, prompt: str | None = None) -> Any:
    """The logit of a token."""
    return here.distribution(model, prompt).logits_of([here.id(token, model)])[0]


@measurement
def rank(here: Here, token: str | int, *, model: str | None = None, prompt: str | None = None) -> Any:
    """The place of a token; 1 is the likeliest."""
    place: Any = here.distribution(model, prompt).rank(here.id(token, model))
    return place + 1


def _id_at(here: Here, place: int, model: str | None, prompt: str | None) -> int:
    distribution = here.distribution(model, prompt)
    if not isinstance(place, int) or not 1 <= place <= distribution.vocab_size:
        raise UserError(_("places are 1 to {most}, not {place!r}").format(most=distribution.vocab_size, place=place))
    if (found := distribution.id_at(place - 1)) is None:
        raise UserError(_("the token of place {place} is not known").format(place=place))
    return found


@measurement
def top(here: Here, place: int = 1, *, model: str | None = None, prompt: str | None = None) -> str:
    """The text of the likeliest token, or of the one at a place from 1."""
    return here.model(model).tokenizer.piece(_id_at(here, place, model, prompt)).decode("utf-8", "backslashreplace")


@measurement
def top_probability(here: Here, place: int = 1, *, model: str | None = None, prompt: str | None = None) -> Any:
    """The probability of the likeliest token, or of the one at a place from 1."""
    return here.distribution(model, prompt).probabilities_of([_id_at(here, place, model, prompt)])[0]


@measurement
def kl_bits(
    here: Here, before: str | None = None, after: str | None = None, *, prompt: str | None = None,
    model: str | None = None,
) -> float:  # fmt: skip
    """KL(before ‖ after) of two models after the walk's tokens or a prompt; without models, KL(walk ‖ prompt)."""
    from core.evaluation.compare import Side, diverge

    if (before is None) != (after is None) or (before is None and prompt is None):
        raise UserError(_("kl_bits compares two models, or the walk with a prompt"))
    pair = ((model, None), (model, prompt)) if before is None else ((before, prompt), (after, prompt))
    a, b = (Side(here.distribution(*side), here.model(side[0]).tokenizer) for side in pair)
    found: Any = diverge(a, b).kl_ab_bits
    return found
