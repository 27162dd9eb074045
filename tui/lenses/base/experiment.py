"""A lens of a causal experiment: it answers the question of the walk."""

from typing import Any, ClassVar, TypeVar

from rich.text import Text

from core.causal.question import CausalQuestion
from core.lenses import lens
from tui.drawing.question import why
from tui.drawing.text import fit
from tui.lenses.base.exported import ExportedPage
from tui.runner import Question

Answer = TypeVar("Answer")


class ExperimentPage(ExportedPage[Answer]):
    """An exported page whose lens has a parameter `question` and an answer with `asked`.

    A subclass implements `lines`, and `options` where the lens has more parameters.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"lens--above", "lens--below"}

    def asked(self, question: CausalQuestion) -> CausalQuestion | None:
        return question

    def new_question(self) -> Question:
        name, options = self.NAME, self.options()
        return Question(lambda session: lens(name)(session.current_step(), session.current_question(), **options))

    def why(self, answer: Any, width: int) -> Text:
        """The question in words, the first line of the page."""
        return self.text((fit(why(answer.asked), width).rstrip(), "hot"))
