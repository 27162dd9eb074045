"""Presence penalty."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.language import N_
from core.sampling.stages.penalty import last
from core.sampling.stages.stage import Stage, knob

if TYPE_CHECKING:
    from core.sampling.context import DrawContext
    from core.sampling.partial_selection import PartialSelection, Selected
    from core.sampling.selection import Selection


@dataclass(frozen=True, kw_only=True, slots=True)
class PresencePenalty(Stage):
    """Subtract α from the score of each token that came before, once.

    Tokens of the prompt count, as in llama.cpp; vLLM counts generated ones only.
    """

    NAME: ClassVar[str] = "presence"
    TITLE: ClassVar[str] = N_("presence penalty")
    SHORT: ClassVar[str] = "pres"
    FORMULA: ClassVar[str] = N_("for i among the last n tokens: zᵢ ← zᵢ − α")
    SOURCE: ClassVar[str] = "OpenAI's API reference, presence_penalty; llama.cpp"
    PLACE: ClassVar[float] = 4

    alpha: float = knob(0.0, 0.5, label="α", low=-100.0, high=100.0, step=0.1, reach=(-2.0, 2.0))
    window: int = knob(0, low=0, label=N_("last n, 0 all"), ladder=(16, 32, 64, 128, 256, 512, 1024, 0))

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        seen = selection.positions(last(context.ids, self.window))
        return selection.scores_at(seen, lambda scores: scores - self.alpha)

    def bounded(self, selection: "PartialSelection", context: "DrawContext") -> "Selected":
        return selection.raised(sorted(set(last(context.ids, self.window))), -self.alpha)
