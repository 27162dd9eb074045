"""Frequency penalty."""

from collections import Counter
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
class FrequencyPenalty(Stage):
    """Subtract α from the score of each token for every time it came before.

    Tokens of the prompt count, as in llama.cpp; vLLM counts generated ones only.
    """

    NAME: ClassVar[str] = "frequency"
    TITLE: ClassVar[str] = N_("frequency penalty")
    SHORT: ClassVar[str] = "freq"
    FORMULA: ClassVar[str] = N_("for i among the last n tokens: zᵢ ← zᵢ − α · count(i)")
    SOURCE: ClassVar[str] = "OpenAI's API reference, frequency_penalty; llama.cpp"
    PLACE: ClassVar[float] = 5

    alpha: float = knob(0.0, 0.5, label="α", low=-100.0, high=100.0, step=0.1, reach=(-2.0, 2.0))
    window: int = knob(0, low=0, label=N_("last n, 0 all"), ladder=(16, 32, 64, 128, 256, 512, 1024, 0))

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        counts = Counter(last(context.ids, self.window))
        seen = selection.positions(list(counts))
        times = [counts[id] for id in selection.ids[seen].tolist()]
        return selection.scores_at(seen, lambda scores: scores - [self.alpha * n for n in times])

    def bounded(self, selection: "PartialSelection", context: "DrawContext") -> "Selected":
        counts = Counter(last(context.ids, self.window))
        return selection.raised(list(counts), [-self.alpha * n for n in counts.values()])
