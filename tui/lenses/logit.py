"""The logit lens: the prediction read out after each sublayer, and the probability and rank of one token there."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text
from textual.content import Content

from core.lenses import lens
from tui.drawing.bars import meter, scale_for
from tui.drawing.plots import curve
from tui.drawing.text import decimals_for, fit, label, percent, within
from tui.lenses.base import AXIS, LensPage
from tui.runner import Frame, Question

if TYPE_CHECKING:
    from core.lenses.logit import LayerPrediction, LogitLens

NAME, TOKEN, SHARE, RANK = 13, 13, 8, 8


class LogitLensPage(LensPage["LogitLens"]):
    """One row for each sublayer, or the probability and rank of the target as plots."""

    NAME = "logit"
    TITLE = "logit lens"
    DESCRIPTION = "The prediction after every sublayer, and from which one on it stays the same"
    ORDER = 13

    def __init__(self) -> None:
        super().__init__()
        self.plotted = False
        """Whether the plots are shown instead of the table."""

    def new_question(self) -> Question:
        return Question(lambda session: lens("logit")(session.current_step()))

    def show(self, frame: Frame) -> None:
        first_answer = self.answer is None
        super().show(frame)
        if self.answer and first_answer:  # begin at the output
            self.cursor = 10**6
            self.draw()

    def choice_count(self) -> int:
        return len(self.answer.layers) if self.answer else 0

    def switch_view(self) -> None:
        self.plotted = not self.plotted
        self.draw()

    # Painting --------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        if self.answer and self.answer.locks_in is not None:
            self.cursor = max(0, min(self.cursor, self.choice_count() - 1))
        self.border_subtitle = Content(f"↑↓ layer · o {'the table' if self.plotted else 'plot'}" if self.answer else "")
        super().draw()

    def lines(self, answer: "LogitLens", width: int, height: int) -> Iterator[Text]:
        yield self._head(answer, width)
        yield Text()
        yield from self._plots(answer, width, height - 2) if self.plotted else self._table(answer, width, height - 2)

    def _head(self, answer: "LogitLens", width: int) -> Text:
        target = answer.layers[0].target
        line = self.text((_short_label(target.piece), "hot"), (" came next" if answer.target_came else "", "muted"))
        if answer.locks_in is None:
            return line
        layer, last = answer.layers[answer.locks_in], answer.layers[-1]
        likeliest = last.top[0]
        if likeliest.id != target.id:
            line.append_text(self.text((" · ", "muted"), (_short_label(likeliest.piece), "bar")))
        where = "only at the output" if layer is last else f"from {short_name(layer)} on"
        line.append_text(self.text((f" ▸ likeliest {where}", "text")))
        return line

    def _table(self, answer: "LogitLens", width: int, height: int) -> Iterator[Text]:
        token = TOKEN if width >= 60 else TOKEN - 5
        more = max(0, min(4, (width - NAME - token - 2 * SHARE - RANK - 16) // (token + SHARE + 2)))
        bar = max(4, min(24, width - NAME - (more + 1) * (token + SHARE + 2) - SHARE - RANK - 3))
        most = max(layer.target.probability for layer in answer.layers)
        scale, decimals = scale_for(most), min(4, decimals_for(most))
        head = f"  {fit('after', NAME)}{fit(' top tokens', (more + 1) * (token + SHARE + 2))}"
        axis = f"0{f'{scale:g}':>{bar - 1}}"
        yield self.text((f"{head}{axis}{'target p':>{SHARE + 1}}{'rank':>{RANK - 1}}", "head"))
        for number in self.visible_rows(
            len(answer.layers), min(self.cursor, len(answer.layers) - 1), max(3, height - 1)
        ):
            yield self.row(number == self.cursor, width, *self._row(answer, number, more, token, bar, scale, decimals))

    def _row(
        self, answer: "LogitLens", number: int, more: int, token: int, bar: int, scale: float, decimals: int
    ) -> Iterator[tuple[str, str]]:
        layer, first = answer.layers[number], answer.locks_in
        mark = "▸ " if number == first else "│ " if first is not None and number > first else "  "
        yield mark, "bar"
        yield fit(short_name(layer), NAME), "text" if number == self.cursor else "muted"
        for rank, candidate in enumerate(layer.top[: more + 1]):
            same = candidate.id == layer.target.id
            style = "hot" if same else "text" if not rank else "muted"
            yield fit(("•" if same else " ") + label(candidate.piece), token), style
            yield (
                f" {percent(candidate.probability, 2 if candidate.probability >= 0.001 else 4):>{SHARE}} ",
                "text" if not rank else "muted",
            )
        target = layer.target
        yield meter(target.probability / scale, bar), "bar"
        yield f"{percent(target.probability, decimals):>{SHARE}}", "text"
        yield f"{target.rank + 1:>{RANK},}", "muted"

    def _plots(self, answer: "LogitLens", width: int, height: int) -> Iterator[Text]:
        targets = [layer.target for layer in answer.layers]
        if len(targets) < 2:
            return
        room, across = max(2, (height - 3) // 2), max(8, width - AXIS)
        here = answer.layers[min(self.cursor, len(targets) - 1)]
        at = round((across - 1) * min(1.0, self.cursor / (len(targets) - 1)))
        shares = tuple(target.probability for target in targets)
        scale = scale_for(max(shares))
        yield self.text((" " * AXIS + "probability of the target", "head"))
        yield from self.plot(curve(shares, across, room, 0.0, scale), f"{scale:g}", "0", at)
        ranks = tuple(-math.log10(target.rank + 1) for target in targets)
        low = min(-1.0, *ranks)
        yield self.text((" " * AXIS + "rank of the target, log scale", "head"))
        yield from self.plot(curve(ranks, across, room, low, 0.0), "1", f"{10**-low:,.0f}", at)
        words = f"{short_name(here)} · {percent(here.target.probability, 2)} · rank {here.target.rank + 1:,}"
        yield self.plot_caption(words, across, at)


def _short_label(piece: bytes) -> str:
    """A token in as many cells as it needs, up to 18."""
    return within(label(piece), 18)


def short_name(layer: "LayerPrediction") -> str:
    """A name that fits a column: `3 attention`; `block 3` where attention and MLP are parallel."""
    short = layer.name.removeprefix("block ")
    return layer.name if short.isdigit() else short
