"""No repeated n-gram."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.language import N_
from core.sampling.stages.stage import Stage, knob

if TYPE_CHECKING:
    from core.sampling.context import DrawContext
    from core.sampling.partial_selection import PartialSelection, Selected
    from core.sampling.selection import Selection


@dataclass(frozen=True, kw_only=True, slots=True)
class NoRepeat(Stage):
    """Remove each token that would end an n-gram of the text a second time.

    N-grams of the prompt count, as in transformers. n = 1 allows each token once.
    """

    NAME: ClassVar[str] = "no_repeat"
    TITLE: ClassVar[str] = N_("no-repeat n-gram")
    SHORT: ClassVar[str] = "n-gram"
    FORMULA: ClassVar[str] = N_("remove i where (the last n − 1 tokens, i) is in the text already")
    SOURCE: ClassVar[str] = "Paulus, Xiong & Socher 2017, A deep reinforced model for summarization; transformers"
    PLACE: ClassVar[float] = 6

    n: int = knob(0, 3, low=0, ladder=(0, 1, 2, 3, 4, 5, 6, 8, 10))

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        return selection.without(selection.positions(self._ends(context.ids)))

    def bounded(self, selection: "PartialSelection", context: "DrawContext") -> "Selected":
        return selection.without(self._ends(context.ids))

    def _ends(self, given: Sequence[int]) -> list[int]:
        ids, length = list(given), self.n - 1
        prefix = ids[len(ids) - length :]
        return [ids[at + length] for at in range(len(ids) - length) if ids[at : at + length] == prefix]
