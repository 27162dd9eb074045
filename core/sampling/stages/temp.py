"""Temperature."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from core.language import N_
from core.sampling.stages.stage import Stage, knob

if TYPE_CHECKING:
    from core.sampling.context import DrawContext
    from core.sampling.partial_selection import PartialSelection, Selected
    from core.sampling.selection import Selection

COLDEST, LARGEST = 1e-30, 1e30


def tempered(selection: "Selection", temperature: float) -> "Selection":
    """The selection with its scores divided by a temperature; only the likeliest token for 0."""
    if temperature == 0:
        return selection.first(1)
    scores: Any = selection.scores.astype("float64")  # float32 has no room for 3e38 / 0.5
    scores /= min(max(temperature, COLDEST), LARGEST)
    return selection.with_scores(scores)


@dataclass(frozen=True, kw_only=True, slots=True)
class Temperature(Stage):
    """Divide the scores by T: below 1 the likely tokens gain, above 1 the unlikely ones.

    T = 0 leaves the likeliest token, as in llama.cpp and transformers' `do_sample=False`.
    """

    NAME: ClassVar[str] = "temp"
    TITLE: ClassVar[str] = N_("temperature")
    SHORT: ClassVar[str] = "T"
    FORMULA: ClassVar[str] = "zᵢ ← zᵢ / T"
    SOURCE: ClassVar[str] = "Ackley, Hinton & Sejnowski 1985, A learning algorithm for Boltzmann machines"
    PLACE: ClassVar[float] = 20

    temperature: float = knob(1.0, 0.8, low=0.0, step=0.1, reach=(0.0, 5.0))

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        return tempered(selection, self.temperature)

    def bounded(self, selection: "PartialSelection", context: "DrawContext") -> "Selected":
        if self.temperature == 0:
            return selection.first(1)
        return selection.tempered(min(max(self.temperature, COLDEST), LARGEST))
