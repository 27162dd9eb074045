"""Top-nσ."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.language import N_
from core.sampling.stages.stage import Stage, knob

if TYPE_CHECKING:
    from core.sampling.context import DrawContext
    from core.sampling.selection import Selection


@dataclass(frozen=True, kw_only=True, slots=True)
class TopNSigma(Stage):
    """Keep the tokens whose score is at most n standard deviations below the highest (the paper's eq. 2).

    σ is the population's, over the finite scores that reach the stage, as in llama.cpp. A temperature does not change
    what is kept, since it scales σ too.
    """

    NAME: ClassVar[str] = "top_n_sigma"
    TITLE: ClassVar[str] = "top-nσ"
    SHORT: ClassVar[str] = "nσ"
    FORMULA: ClassVar[str] = N_("keep i where zᵢ ≥ max z − n · σ(z)")
    SOURCE: ClassVar[str] = "Tang et al. 2024, Top-nσ: not all logits are you need"
    PLACE: ClassVar[float] = 10

    n: float = knob(0.0, 1.0, low=0.0, step=0.25, reach=(0.0, 10.0))

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        scores = selection.scores
        finite = scores[scores > -math.inf]
        sigma = float(finite.std(dtype="float64"))
        return selection.keep(scores >= selection.highest - self.n * sigma)
