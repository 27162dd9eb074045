"""A text under a watermark detector: its green tokens, and how far they are above chance."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from core.language import N_, _
from core.sampling.stages.watermark import Watermark
from tui.drawing.text import label, one_line
from tui.lenses.base import LensPage
from tui.runner import Question

if TYPE_CHECKING:
    from core.lenses.watermark import WatermarkedToken, WatermarkReport
    from core.walk.session import Session

MARKS = {True: "●", False: "○", None: " "}


def _ask(session: "Session") -> "WatermarkReport":
    from core.lenses.watermark import report  # noqa: PLC0415  # torch

    return report(session.current_step(), session.sampler.stage(Watermark) or Watermark.usual())


class WatermarkLens(LensPage["WatermarkReport"]):
    """The settings are those of the sampler's watermark, or the usual ones."""

    NAME = "watermark"
    TITLE = N_("watermark")
    DESCRIPTION = N_("Which tokens are in a watermark's green lists; the z-score")
    ORDER = 8
    PICKS = False
    GROUP = N_("Next token")
    ALSO = N_("green list detect")

    def new_question(self) -> Question:
        return Question(_ask)

    def lines(self, answer: "WatermarkReport", width: int, height: int) -> Iterator[Text]:
        self.hint(_("● green ○ red · N in the sampler lens adds a watermark"))
        verdict = _("a watermark is likely") if answer.z >= 3 else _("no watermark found")
        yield from self.folded(
            width,
            (f"z {answer.z:.2f} ", "bar"),
            (
                _("· p {p_value:.2g} · {green:,} of {scored:,} green ").format(
                    p_value=answer.p_value, green=answer.green, scored=answer.scored
                ),
                "text",
            ),
            (_("(expected {ratio:.0%}) · {verdict}").format(ratio=answer.ratio, verdict=verdict), "muted"),
        )
        yield self.text((one_line(answer.watermark), "faint"))
        yield Text()
        yield from self._tokens(answer.tokens, width)

    def _tokens(self, tokens: "tuple[WatermarkedToken, ...]", width: int) -> Iterator[Text]:
        line = Text()
        for token in tokens:
            words = f"{MARKS[token.green]}{label(token.piece)} "
            if line and line.cell_len + cell_len(words) > width:
                yield line
                line = Text()
            style = "bar" if token.green else "muted" if token.green is False else "faint"
            line.append_text(self.text((words, style)))
        yield line
