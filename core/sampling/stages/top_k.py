"""Top-k."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.language import N_
from core.sampling.stages.stage import Stage, knob

if TYPE_CHECKING:
    from core.sampling.context import DrawContext
    from core.sampling.partial_selection import PartialSelection, Selected
    from core.sampling.selection import Selection


@dataclass(frozen=True, kw_only=True, slots=True)
class TopK(Stage):
    """Keep the k likeliest tokens.

    In a tie at the k-th token the lowest ids stay, so exactly k do, as in llama.cpp; transformers keeps the whole tie.
    """

    NAME: ClassVar[str] = "top_k"
    TITLE: ClassVar[str] = "top-k"
    SHORT: ClassVar[str] = "k"
    FORMULA: ClassVar[str] = N_("keep i where rank(zᵢ) < k")
    SOURCE: ClassVar[str] = "Fan, Lewis & Dauphin 2018, Hierarchical neural story generation"
    PLACE: ClassVar[float] = 11

    k: int = knob(
        0,
        40,
        low=0,
        ladder=(1, 2, 3, 5, 10, 20, 40, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 0),
        counts_tokens=True,
    )

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        return selection.first(self.k)

    def bounded(self, selection: "PartialSelection", context: "DrawContext") -> "Selected":
        return selection.first(self.k)
