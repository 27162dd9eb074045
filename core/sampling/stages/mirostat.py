"""Mirostat 2."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.language import N_
from core.sampling.stages.stage import Stage, knob

if TYPE_CHECKING:
    from core.sampling.context import DrawContext
    from core.sampling.partial_selection import PartialSelection, Selected
    from core.sampling.selection import Selection


@dataclass(frozen=True, kw_only=True, slots=True)
class Mirostat(Stage):
    """Keep the tokens of at most μ bits, and move μ after each draw so that the surprisal comes near τ (algorithm 2).

    μ starts at 2τ and is computed anew from the surprisals of the tokens that mirostat drew on the way to a position,
    so going back, another branch and a replay see the μ they had. S is -log2 of the probability that the token was
    drawn with: where mirostat is the last stage, that is the S of llama.cpp.
    """

    NAME: ClassVar[str] = "mirostat"
    TITLE: ClassVar[str] = N_("mirostat 2")
    SHORT: ClassVar[str] = "miro"
    FORMULA: ClassVar[str] = N_("keep i where −log2 pᵢ ≤ μ; then μ ← μ − η (S − τ)")
    SOURCE: ClassVar[str] = "Basu et al. 2021, Mirostat: a perplexity-controlling text decoding algorithm"
    PLACE: ClassVar[float] = 19

    tau: float = knob(0.0, 5.0, label="τ", low=0.0, high=100.0, step=0.5, reach=(0.0, 15.0))
    eta: float = knob(0.1, label="η", low=0.0, high=1.0, step=0.05)

    def mu(self, surprisals: Iterable[float]) -> float:
        """μ in bits after tokens of these surprisals."""
        mu = 2 * self.tau
        for bits in surprisals:
            mu -= self.eta * (bits - self.tau)
        return mu

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        least = -self.mu(context.surprisals) * math.log(2)
        logprobs = selection.logprobs
        return selection.keep(logprobs >= least) if logprobs.max() >= least else selection.first(1)

    def bounded(self, selection: "PartialSelection", context: "DrawContext") -> "Selected":
        bits = -self.mu(context.surprisals) * math.log(2)
        low, high = (total + bits for total in selection.log_totals)
        least, most = selection.best
        if most < low:
            return selection.first(1)
        if least < high and (least < most or (selection.scores == least).sum() > 1):
            raise selection.undecided()  # below the cut only one of several equally likely ones would stay
        return selection.at_least(low, high)
