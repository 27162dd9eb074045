"""Epsilon cut-off."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.language import N_
from core.sampling.stages.stage import Stage, knob

if TYPE_CHECKING:
    from core.sampling.context import DrawContext
    from core.sampling.partial_selection import PartialSelection, Selected
    from core.sampling.selection import Selection


@dataclass(frozen=True, kw_only=True, slots=True)
class Epsilon(Stage):
    """Keep the tokens with at least the probability ε, and always the likeliest, as transformers does."""

    NAME: ClassVar[str] = "epsilon"
    TITLE: ClassVar[str] = "ε cut-off"
    SHORT: ClassVar[str] = "ε"
    FORMULA: ClassVar[str] = N_("keep i where pᵢ ≥ ε")
    SOURCE: ClassVar[str] = "Hewitt, Manning & Liang 2022, Truncation sampling as language model desmoothing"
    PLACE: ClassVar[float] = 15

    epsilon: float = knob(
        0.0, 0.0009, label="ε", low=0.0, high=1.0, ladder=(0, 1e-4, 3e-4, 6e-4, 9e-4, 2e-3, 4e-3, 0.01, 0.03, 0.1)
    )

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        shares = selection.probabilities
        return selection.keep((shares >= self.epsilon) | (selection.scores == selection.highest))

    def bounded(self, selection: "PartialSelection", context: "DrawContext") -> "Selected":
        least, most = selection.log_totals
        return selection.at_least(least + math.log(self.epsilon), most + math.log(self.epsilon))
