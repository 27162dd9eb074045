"""XTC: exclude top choices."""

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
class Xtc(Stage):
    """With a chance, remove all tokens of at least a threshold but the least likely of them.

    Whether it does is decided by a second uniform number of the draw, so that a draw can be repeated. A threshold above
    0.5 never removes anything, as in llama.cpp. Equally likely tokens: the one with the highest id stays.
    """

    NAME: ClassVar[str] = "xtc"
    TITLE: ClassVar[str] = "XTC"
    SHORT: ClassVar[str] = "XTC"
    FORMULA: ClassVar[str] = N_("where chance < c: remove all i with pᵢ ≥ t but the least likely of them")
    SOURCE: ClassVar[str] = "Weidmann 2024, text-generation-webui pull request 6335; llama.cpp"
    PLACE: ClassVar[float] = 17

    chance: float = knob(0.0, 0.5, low=0.0, high=1.0, step=0.1)
    threshold: float = knob(0.1, low=0.0, high=1.0, step=0.05)

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        if context.chance >= self.chance or self.threshold > 0.5:
            return selection
        likely = int((selection.probabilities >= self.threshold).sum())
        return selection.without(selection.ranking.first(likely)[: likely - 1]) if likely > 1 else selection

    def bounded(self, selection: "PartialSelection", context: "DrawContext") -> "Selected":
        if context.chance >= self.chance or self.threshold > 0.5:
            return selection
        if self.threshold == 0:
            raise selection.needs_all()
        low, high = (total + math.log(self.threshold) for total in selection.log_totals)
        likely = int((selection.scores >= high).sum())
        if selection.tail.highest >= low or likely < (selection.scores >= low).sum():
            raise selection.undecided()
        return selection.without_first(likely - 1) if likely > 1 else selection
