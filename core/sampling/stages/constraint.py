"""What the stages that hold a text to a form have in common."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from core.constraints.source import Kind, grammar_of
from core.errors import UserError
from core.language import N_, _
from core.sampling.stages.stage import MaskStage, knob

if TYPE_CHECKING:
    from core.sampling.context import DrawContext
    from core.sampling.partial_selection import PartialSelection, Selected
    from core.sampling.selection import Selection


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraint(MaskStage):
    """Only tokens with which the generated text can still match; the text may end where it matches.

    The text begins after the first `start` generated tokens. After a token that ends it, everything is allowed. Raises
    `UserError` for what does not compile.
    """

    SOURCE: ClassVar[str] = "llguidance; Willard & Louf 2023, Efficient guided generation for large language models"
    FORMULA: ClassVar[str] = N_("keep i where text + i begins a text that matches")
    KIND: ClassVar[Kind]

    text: str = knob("", label=N_("text"))
    start: int = knob(0, label=N_("start"), low=0)

    def __post_init__(self) -> None:
        MaskStage.__post_init__(self)
        if self.text:
            grammar_of(self.KIND, self.form_text())

    def form_text(self) -> str:
        """What must be matched, as `core.constraints` reads it."""
        return self.text

    def allowed(self, context: "DrawContext") -> Any:
        from core.constraints.matcher import matcher  # noqa: PLC0415  # NumPy

        return matcher(self.KIND, self.form_text(), context.vocabulary).allowed(context.generated[self.start :])

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        if len(context.generated) < self.start:
            return selection
        kept = selection.keep(self.allowed(context)[selection.ids])
        if not len(kept):
            raise UserError(_("the stages before it removed every token that matches; put it before them"))
        return kept

    def bounded(self, selection: "PartialSelection", context: "DrawContext") -> "Selected":
        return selection if len(context.generated) < self.start else MaskStage.bounded(self, selection, context)
