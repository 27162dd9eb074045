"""Repetition penalty."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from core.language import N_
from core.sampling.stages.stage import Stage, knob

if TYPE_CHECKING:
    from core.sampling.context import DrawContext
    from core.sampling.selection import Selection


def last(ids: Sequence[int], count: int) -> Sequence[int]:
    """The last `count` ids, or all for 0."""
    return ids[-count:] if count else ids


@dataclass(frozen=True, kw_only=True, slots=True)
class RepetitionPenalty(Stage):
    """Divide the positive scores of tokens that came before, and multiply the negative ones.

    Tokens of the prompt count, as in transformers and llama.cpp. It depends on where 0 lies: it acts on logits, so a
    temperature before it changes what it does.
    """

    NAME: ClassVar[str] = "penalty"
    TITLE: ClassVar[str] = N_("repetition penalty")
    SHORT: ClassVar[str] = "rep"
    FORMULA: ClassVar[str] = N_("for i among the last n tokens: zᵢ ← zᵢ / θ if zᵢ > 0, else zᵢ · θ")
    SOURCE: ClassVar[str] = "Keskar et al. 2019, CTRL, section 4.1; transformers and llama.cpp"
    PLACE: ClassVar[float] = 3
    NEEDS_LOGITS: ClassVar[bool] = True

    theta: float = knob(1.0, 1.1, label="θ", low=0.0, high=100.0, above_low=True, step=0.05, reach=(0.5, 3.0))
    window: int = knob(0, low=0, label=N_("last n, 0 all"), ladder=(16, 32, 64, 128, 256, 512, 1024, 0))

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        def penalized(scores: Any) -> Any:
            scores[scores < 0] *= self.theta * self.theta
            return scores / self.theta

        return selection.scores_at(selection.positions(last(context.ids, self.window)), penalized)
