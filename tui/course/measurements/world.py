"""Measurements in the tiny world, whose true next-token distribution is known. Losses are in nats per token."""

from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.language import _
from tui.course.measurements.here import Here, measurement

if TYPE_CHECKING:
    from core.training.quality import Quality

FLOORS = {"unigram": "unigram", "last token": "last_token", "context": "context"}
"""What a model may know, and the field of `core.world.automaton.Floors`."""
TOKENS = 4096
"""Held-out tokens that a model is measured on: a tenth of a second for a rung."""


@measurement
def floor(here: Here, knows: str) -> float:
    """The lowest possible loss of who knows how frequent tokens are (`unigram`), the `last token` or the `context`."""
    from core.world import tiny

    if knows not in FLOORS:
        names = ", ".join(FLOORS)
        raise UserError(_("there is no floor {name!r}; choose from {names}").format(name=knows, names=names))
    found: float = getattr(tiny.automaton().floors(), FLOORS[knows])
    return found


def _quality(here: Here, model: str) -> "Quality":
    from core.training.quality import quality

    def compute() -> Any:
        *_, found = quality(here.model(model), TOKENS)
        return found

    found: Quality = here.kept("quality", model, (), compute)
    return found


@measurement
def world_loss(here: Here, model: str) -> float:
    """The expected loss of a model on held-out text of the tiny world."""
    return _quality(here, model).loss


@measurement
def world_accuracy(here: Here, label: str, model: str) -> float:
    """How often a model is right where an earlier token decides: `agreement`, `close`, `copy` or `pronoun`; 0 to 1."""
    slots = {slot.label: slot.accuracy for slot in _quality(here, model).slots}
    if label not in slots:
        names = ", ".join(slots)
        raise UserError(_("there is no label {name!r}; choose from {names}").format(name=label, names=names))
    return slots[label]


@measurement
def true_probability(here: Here, token: str | int, *, prompt: str | None = None) -> float:
    """The probability of a token in the tiny world itself."""
    return _true(here, prompt).get(here.id(token), 0.0)


@measurement
def true_kl_bits(here: Here, *, model: str | None = None, prompt: str | None = None) -> float:
    """KL(true ‖ model) of the next token, in bits."""
    import math

    true = _true(here, prompt)
    shares = here.distribution(model, prompt).probabilities_of(list(true))
    return sum(p * math.log2(p / q) for p, q in zip(true.values(), shares, strict=True))


def _true(here: Here, prompt: str | None) -> dict[int, float]:
    from core.world import tiny

    ids = here.ids(None, prompt)
    known = here.model().tokenizer.name == tiny.NAME
    if not known or not (found := tiny.TrueDistribution().after(ids)):
        raise UserError(_("the tiny world has no such text, so its true distribution is unknown"))
    return dict(found)
