"""Top-p, also called nucleus sampling."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.language import N_
from core.sampling.stages.stage import Stage, knob

if TYPE_CHECKING:
    from core.sampling.context import DrawContext
    from core.sampling.partial_selection import PartialSelection, Selected
    from core.sampling.selection import Selection


@dataclass(frozen=True, kw_only=True, slots=True)
class TopP(Stage):
    """Keep the fewest likeliest tokens that together hold the share p of the mass (the paper's eq. 2).

    The token that reaches p is kept, as in transformers and llama.cpp; in a tie the lowest ids come first.
    """

    NAME: ClassVar[str] = "top_p"
    TITLE: ClassVar[str] = "top-p"
    SHORT: ClassVar[str] = "p"
    FORMULA: ClassVar[str] = N_("keep the smallest set of likeliest i with Σ pᵢ ≥ p")
    SOURCE: ClassVar[str] = "Holtzman et al. 2020, The curious case of neural text degeneration"
    PLACE: ClassVar[float] = 13

    p: float = knob(1.0, 0.95, low=0.0, high=1.0, above_low=True, step=0.05, reach=(0.05, 1.0))

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        return selection.up_to(selection.ranking.at_mass(self.p, reached=True).at)

    def bounded(self, selection: "PartialSelection", context: "DrawContext") -> "Selected":
        return selection.within(self.p)
