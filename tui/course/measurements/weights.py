"""Measurements of weights: counts by configuration, and the distribution of one tensor's numbers."""

from typing import Any

from core.errors import UserError
from core.language import _
from tui.course.measurements.here import Here, measurement


def _histogram(here: Here, name: str, model: str | None) -> Any:
    from core.lenses.weights import weights

    step = here.step(model, None)

    def compute() -> Any:
        *_, found = weights(step, name)
        return found.histogram  # type: ignore[union-attr]  # the last value is complete

    return here.kept(("histogram", name), model, (), compute)


@measurement
def weight_mean(here: Here, name: str, *, model: str | None = None) -> float:
    """The mean of the numbers of a weight, such as `embed.weight`."""
    found: float = _histogram(here, name, model).mean
    return found


@measurement
def weight_std(here: Here, name: str, *, model: str | None = None) -> float:
    """Their standard deviation."""
    found: float = _histogram(here, name, model).std
    return found


@measurement
def weight_largest(here: Here, name: str, *, model: str | None = None) -> float:
    """The largest magnitude among them."""
    found = _histogram(here, name, model)
    return max(abs(found.low), abs(found.high))


@measurement
def weight_kurtosis(here: Here, name: str, *, model: str | None = None) -> float:
    """Their kurtosis, E[(x - mean)⁴] / std⁴; 3 for a normal distribution. Quantized weights have none here."""
    found = dict(here.model(model).transformer.named_parameters()).get(name)
    if found is None:
        raise UserError(_("there is no weight {name!r} that is not quantized").format(name=name))
    numbers = found.detach().double().flatten()
    centred = numbers - numbers.mean()
    answer: float = (centred.pow(4).mean() / centred.pow(2).mean().pow(2)).item()
    return answer


@measurement
def rung_parameters(
    here: Here, rung: str, vocab_size: int, *, embed_dim: int | None = None, context: int | None = None,
    blocks: int | None = None, heads: int | None = None,
) -> int:  # fmt: skip
    """How many parameters a rung of some sizes has, by its configuration; no model is made."""
    from core.loading import ladder
    from core.loading.choice import Hyperparameters

    sizes = Hyperparameters(embed_dim=embed_dim, context=context, blocks=blocks, heads=heads)
    return ladder.rung(rung, vocab_size, sizes).config.parameter_count()
