"""Classifier-free guidance with a negative prompt."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.language import N_
from core.sampling.stages.stage import Stage, knob

if TYPE_CHECKING:
    from core.sampling.context import DrawContext
    from core.sampling.selection import Selection


@dataclass(frozen=True, kw_only=True, slots=True)
class Guidance(Stage):
    """Move away from what the model says after a negative prompt, followed by the same generated tokens.

    γ = 1 changes nothing, above 1 strengthens the prompt of the walk (the paper's eq. 7). An empty negative prompt is
    the last token of the prompt, as in transformers.
    """

    NAME: ClassVar[str] = "cfg"
    TITLE: ClassVar[str] = N_("guidance")
    SHORT: ClassVar[str] = "cfg"
    FORMULA: ClassVar[str] = N_("zᵢ ← log p⁻ᵢ + γ (log pᵢ − log p⁻ᵢ), p⁻ after the negative prompt")
    SOURCE: ClassVar[str] = "Sanchez et al. 2023, Stay on topic with classifier-free guidance"
    EXAMPLE: ClassVar[str] = "cfg=1.5:'The sky is'"
    PLACE: ClassVar[float] = 8

    scale: float = knob(1.0, 1.5, label="γ", low=0.0, high=100.0, above_low=True, step=0.25, reach=(0.25, 10.0))
    negative: str = knob("", label=N_("negative prompt"))

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        other = selection.beside(context.logits_of("prompt", self.negative))
        return selection.with_scores(other + self.scale * (selection.logprobs - other))
