"""Locally typical sampling."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.language import N_
from core.sampling.stages.stage import Stage, knob

if TYPE_CHECKING:
    from core.sampling.context import DrawContext
    from core.sampling.partial_selection import PartialSelection, Selected
    from core.sampling.selection import Selection


@dataclass(frozen=True, kw_only=True, slots=True)
class Typical(Stage):
    """Keep the tokens whose surprisal is nearest to the entropy, the fewest that hold the share p (the paper's eq. 7).

    The token that reaches p is kept with all that are equally near, as in transformers; llama.cpp cuts within a tie.
    """

    NAME: ClassVar[str] = "typical"
    TITLE: ClassVar[str] = N_("typical")
    SHORT: ClassVar[str] = "typ"
    FORMULA: ClassVar[str] = N_("keep the smallest set of i with Σ pᵢ ≥ p, by ascending |−ln pᵢ − H|")
    SOURCE: ClassVar[str] = "Meister et al. 2023, Locally typical sampling"
    PLACE: ClassVar[float] = 12

    p: float = knob(1.0, 0.9, low=0.0, high=1.0, above_low=True, step=0.05, reach=(0.05, 1.0))

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        nearness = -abs(-selection.logprobs - selection.entropy_nats)
        last = selection.ranking.over(nearness).at_mass(self.p, selection.probabilities, reached=True)
        return selection.keep(nearness >= nearness[last.at])

    def bounded(self, selection: "PartialSelection", context: "DrawContext") -> "Selected":
        return selection.typical(self.p)
