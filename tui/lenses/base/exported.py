"""A lens that is exported, and says how to compute its answer again."""

from collections.abc import Sequence
from typing import Any, Literal, TypeVar, get_args

from rich.cells import cell_len
from rich.text import Text
from textual.content import Content

from core.causal.notebook import notebook
from core.causal.question import CausalQuestion
from core.errors import UserError
from core.language import N_, _
from core.lenses import table
from tui.drawing.picture import svg
from tui.drawing.text import one_line
from tui.lenses.base.lens import BORDER
from tui.lenses.base.page import LensPage
from tui.reports.json_values import json_line
from tui.reports.lens_json import lens_json

Answer = TypeVar("Answer")
Form = Literal["json", "csv", "svg"]
FORMS: tuple[Form, ...] = get_args(Form)
AWAY = N_("W export")
"""What the lower border says of export and notebook lines, where it has room."""
PICTURE = 100, 1000
"""Cells and lines of a picture at most; lines that an answer does not need are left out."""


class ExportedPage(LensPage[Answer]):
    """A lens page whose `NAME` is a lens of `core.lenses` with a `table`.

    A subclass implements `lines`, and `options` where the lens has parameters.
    """

    def options(self) -> dict[str, Any]:
        """The keyword arguments of the lens, as plain values."""
        return {}

    def asked(self, question: CausalQuestion) -> CausalQuestion | None:
        """The question that the lens is given, of the one at the position; None where it takes none."""
        return None

    def draw(self) -> None:
        words = str(self.border_subtitle or "")
        longer = f"{words} · {_(AWAY)}" if words else _(AWAY)
        if self.answer is not None and _(AWAY) not in words and cell_len(longer) + BORDER <= self.outer_size.width:
            self.border_subtitle = Content(longer)
        super().draw()

    # Taken away ------------------------------------------------------------------------------------------------------

    def notebook(self) -> str:
        """The lines of Python that compute the present answer."""
        frame = self.frame
        if frame.snapshot is None or frame.choice is None or frame.tokenizer is None:
            raise UserError(_("there is no walk yet, so there is nothing to compute; write a prompt first"))
        ids = [token.id for token in frame.snapshot.tokens[: frame.snapshot.cursor]]
        asked = self.asked(frame.snapshot.question.continued(frame.snapshot.prompt_length, ids))
        return notebook(frame.choice, frame.tokenizer, ids, asked, self.NAME, self.options(), frame.snapshot.patches)

    def exported(self, form: Form) -> str:
        """The present answer as JSON, as CSV or as a picture. Raises `UserError` where there is none."""
        if self.answer is None:
            raise UserError(_("the lens has no answer yet, so there is nothing to export; wait until it has one"))
        if form == "csv":
            return f"{table(self.NAME)(self.answer)}\n"
        if form == "json":
            model = self.frame.model.name if self.frame.model else ""
            tokens = self.frame.snapshot.tokens[: self.frame.snapshot.cursor] if self.frame.snapshot else ()
            source = {"lens": self.NAME, "model": model, "prompt_ids": [token.id for token in tokens]}
            return json_line(source | lens_json(self.NAME, self.answer)) + "\n"
        return self.picture()

    def picture(self) -> str:
        """The present answer as SVG: all its lines, also those that scroll in the panel."""
        width, height = PICTURE
        assert self.answer is not None
        title = self.text((one_line(_(self.TITLE)), "head"))
        lines: Sequence[Text] = (title, *self.lines(self.answer, width, height))
        ink, ground = self.get_component_styles("lens--text").color, self.background_colors[1]
        return svg(lines, width, ink.rgb, ground.rgb)
