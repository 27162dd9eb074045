"""Dynamic temperature."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.language import N_
from core.sampling.stages.stage import Stage, knob
from core.sampling.stages.temp import tempered

if TYPE_CHECKING:
    from core.sampling.context import DrawContext
    from core.sampling.selection import Selection


@dataclass(frozen=True, kw_only=True, slots=True)
class DynamicTemperature(Stage):
    """A temperature between T − r and T + r, the higher the more uncertain the distribution is.

    The entropy is divided by that of as many equally likely tokens as reach the stage, as in llama.cpp.
    """

    NAME: ClassVar[str] = "dynatemp"
    TITLE: ClassVar[str] = N_("dynamic temperature")
    SHORT: ClassVar[str] = "dynT"
    FORMULA: ClassVar[str] = "zᵢ ← zᵢ / (a + (b − a) · (H / ln n)^e), a = max(0, T − r), b = T + r"
    SOURCE: ClassVar[str] = "kalomaze 2023, llama.cpp pull request 4972"
    PLACE: ClassVar[float] = 18

    reach: float = knob(0.0, 0.5, label=N_("range"), low=0.0, high=100.0, step=0.1, reach=(0.0, 5.0))
    exponent: float = knob(1.0, low=0.0, high=100.0, step=0.1, reach=(0.0, 10.0))
    temperature: float = knob(1.0, low=0.0, high=100.0, step=0.1, reach=(0.0, 5.0))

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        if len(selection) == 1:
            return selection
        share = selection.entropy_nats / math.log(len(selection))
        low, high = max(0.0, self.temperature - self.reach), self.temperature + self.reach
        return tempered(selection, low + (high - low) * share**self.exponent)
