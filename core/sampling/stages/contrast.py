"""Contrastive decoding against a smaller model."""

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
class Contrast(Stage):
    """Prefer what the model finds likelier than a smaller model does, among the tokens it finds plausible.

    z are logits of both models, in the form of O'Brien & Lewis (eq. 3), where β = 0 changes no score. Tokens below the
    share α of the likeliest are removed first (Li et al. 2023, eq. 2), since a contrast of tiny numbers is noise.
    """

    NAME: ClassVar[str] = "contrast"
    TITLE: ClassVar[str] = N_("contrastive")
    SHORT: ClassVar[str] = "contr"
    FORMULA: ClassVar[str] = N_("keep i where pᵢ ≥ α · max p; zᵢ ← (1 + β) zᵢ − β zᵢ(smaller model)")
    SOURCE: ClassVar[str] = "Li et al. 2023, Contrastive decoding; O'Brien & Lewis 2023, section 2.2"
    EXAMPLE: ClassVar[str] = "contrast=0.5:0.1:model1"
    PLACE: ClassVar[float] = 9

    beta: float = knob(0.0, 0.5, label="β", low=0.0, high=100.0, step=0.1, reach=(0.0, 5.0))
    alpha: float = knob(0.1, label="α", low=0.0, high=1.0, above_low=True, step=0.05, reach=(0.05, 1.0))
    smaller: str = knob("model1", label=N_("smaller model"))

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        plausible = selection.keep(selection.scores >= selection.highest + math.log(self.alpha))
        other = plausible.finite(context.logits_of("model", self.smaller))
        return plausible.with_scores((1 + self.beta) * plausible.scores.astype("float64") - self.beta * other)

    def bounded(self, selection: "PartialSelection", context: "DrawContext") -> "Selected":
        least, most = selection.best
        plausible = selection.at_least(least + math.log(self.alpha), most + math.log(self.alpha))
        if not plausible.complete:
            raise selection.needs_all()
        return plausible.through(self, context)
