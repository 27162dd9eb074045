"""Eta cut-off."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.language import N_
from core.sampling.bounds import high, low
from core.sampling.stages.stage import Stage, knob

if TYPE_CHECKING:
    from core.sampling.context import DrawContext
    from core.sampling.partial_selection import PartialSelection, Selected
    from core.sampling.selection import Selection


@dataclass(frozen=True, kw_only=True, slots=True)
class Eta(Stage):
    """Keep the tokens with at least the probability η, which falls where the entropy H is high (nats).

    The likeliest token always stays, as in transformers.
    """

    NAME: ClassVar[str] = "eta"
    TITLE: ClassVar[str] = "η cut-off"
    SHORT: ClassVar[str] = "η"
    FORMULA: ClassVar[str] = N_("keep i where pᵢ ≥ η = min(ε, √ε · e^−H)")
    SOURCE: ClassVar[str] = "Hewitt, Manning & Liang 2022, Truncation sampling as language model desmoothing"
    PLACE: ClassVar[float] = 16

    epsilon: float = knob(
        0.0, 0.0009, label="ε", low=0.0, high=1.0, ladder=(0, 1e-4, 3e-4, 6e-4, 9e-4, 2e-3, 4e-3, 0.01, 0.03, 0.1)
    )

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        eta = min(self.epsilon, math.sqrt(self.epsilon) * math.exp(-selection.entropy_nats))
        return selection.keep((selection.probabilities >= eta) | (selection.scores == selection.highest))

    def bounded(self, selection: "PartialSelection", context: "DrawContext") -> "Selected":
        entropy, (least, most) = selection.entropy_nats, selection.log_totals
        cuts = [min(self.epsilon, math.sqrt(self.epsilon) * math.exp(-each)) for each in (high(entropy), low(entropy))]
        return selection.at_least(least + math.log(cuts[0]), most + math.log(cuts[1]))
