"""Min-p."""

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
class MinP(Stage):
    """Keep the tokens at least this many times as likely as the likeliest.

    The ratio is compared as a difference of scores, as in llama.cpp, so no softmax is needed.
    """

    NAME: ClassVar[str] = "min_p"
    TITLE: ClassVar[str] = "min-p"
    SHORT: ClassVar[str] = "min-p"
    FORMULA: ClassVar[str] = N_("keep i where pᵢ ≥ m · max p")
    SOURCE: ClassVar[str] = "Nguyen et al. 2024, Turning up the heat: min-p sampling"
    PLACE: ClassVar[float] = 14

    m: float = knob(0.0, 0.05, low=0.0, high=1.0, step=0.05)

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        return selection.keep(selection.scores >= selection.highest + math.log(self.m))

    def bounded(self, selection: "PartialSelection", context: "DrawContext") -> "Selected":
        least, most = selection.best
        return selection.at_least(least + math.log(self.m), most + math.log(self.m))
