"""The logit lens: the prediction read out after each sublayer, as a table, as plots, and as a map of all positions."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from core.language import N_, _
from core.lenses import lens
from tui.drawing.bars import meter, scale_for
from tui.drawing.heat_map import HeatMap
from tui.drawing.logit_map import QUANTITIES, cell_words, heat_map
from tui.drawing.parts import part_name
from tui.drawing.plots import curve
from tui.drawing.text import decimals_for, fit, label, percent, within
from tui.lenses.base import AXIS, HeatMapPage, KeyWords
from tui.lenses.base.heat import EVERYTHING
from tui.runner import Frame, Question

if TYPE_CHECKING:
    from core.lenses.logit import LayerPrediction, LogitLens

NAME, TOKEN, SHARE, RANK = 13, 13, 8, 8
VIEWS = (N_("table"), N_("plots"), N_("map"))
LAST = 32
"""Positions of the map at most."""


def axis(end: float, width: int) -> str:
    """The ends of a bar from 0 to `end`; only the far one where they would touch."""
    number = f"{end:g}"
    return f"{'0' if len(number) + 2 <= width else ' '}{number:>{width - 1}}"


class LogitLensPage(HeatMapPage["LogitLens"]):
    """One row for each sublayer; or the probability and rank of the target as plots; or a map of all positions."""

    NAME = "logit"
    TITLE = N_("logit lens")
    DESCRIPTION = N_("The prediction after every sublayer, and at every position")
    ORDER = 13
    GROUP = N_("Inside")
    ALSO = N_("layers residual stream early exit")
    KEYS = KeyWords(move=N_("layer"), view=N_("view"))

    def __init__(self) -> None:
        super().__init__()
        self.cursor = 10**6  # the output, until a person moves
        self.view = VIEWS[0]
        self.column = self._last_column = 0
        self.quantity = 0
        """Which of `QUANTITIES` the map shows."""

    def new_question(self) -> Question:
        last = LAST if self.view == "map" else 0
        return Question(
            lambda session: lens("logit")(session.current_step(), last=last, asked=session.current_question())
        )

    def show(self, frame: Frame) -> None:
        super().show(frame)
        if self.answer and self.answer.map:
            last, was_last = len(self.answer.map.pieces) - 1, self.column == self._last_column
            self._last_column = last
            if was_last and self.column != last:
                self.column = last
                self.draw()

    def heat_map(self) -> HeatMap | None:
        drawn = self.answer.map if self.answer else None
        return heat_map(drawn, QUANTITIES[self.quantity]) if drawn else None

    def at_cursor(self, answer: "LogitLens") -> str:
        drawn, shown = answer.map, self.heat_map()
        if drawn is None or shown is None:
            return _("reading every position …")
        row, column = min(self.cursor, len(drawn.rows) - 1), min(self.column, len(drawn.pieces) - 1)
        where = _("{layer} at {token}: ").format(layer=shown.rows[row], token=shown.columns[column])
        return where + "  ".join(cell_words(drawn, row, column, EVERYTHING))

    def choice_count(self) -> int:
        if self.view == "map":
            return super().choice_count()
        return len(self.answer.layers) if self.answer else 0

    def switch_view(self) -> None:
        self.view = VIEWS[(VIEWS.index(self.view) + 1) % len(VIEWS)]
        self._first_row, self.cursor = 0, 10**6
        if self.view == "map":
            self.ask_again()
        self.draw()

    def adjust(self, down: int, across: int) -> None:
        if self.view == "map":
            super().adjust(0, across)
            self.quantity = (self.quantity + down) % len(QUANTITIES)
            self.draw()

    # Painting --------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        if self.answer and self.answer.locks_in is not None and (count := self.choice_count()):
            self.cursor = max(0, min(self.cursor, count - 1))
        following = f"o {_(VIEWS[(VIEWS.index(self.view) + 1) % len(VIEWS)])}"
        keys = (
            _("↑↓ layer · ⇧←→ position · ⇧↑↓ quantity · {following}").format(following=following)
            if self.view == "map"
            else _("↑↓ layer · {following}").format(following=following)
        )
        self.hint(keys if self.answer else "")
        super().draw()

    def lines(self, answer: "LogitLens", width: int, height: int) -> Iterator[Text]:
        if self.view == "map":
            yield from self._map(answer, width, height)
            return
        yield self._head(answer, width)
        yield Text()
        yield from (self._plots if self.view == "plots" else self._table)(answer, width, height - 2)

    # The map of layers and positions

    def _map(self, answer: "LogitLens", width: int, height: int) -> Iterator[Text]:
        drawn, shown = answer.map, self.heat_map()
        if drawn is None or shown is None:
            yield self.text((_("reading every position …"), "faint"))
            return
        row, column = min(self.cursor, len(drawn.rows) - 1), min(self.column, len(drawn.pieces) - 1)
        numbers, tokens = cell_words(drawn, row, column, width - 2)
        where = _("{layer} at {token}: ").format(layer=shown.rows[row], token=within(shown.columns[column], 14))
        asked = QUANTITIES[self.quantity].name(drawn)
        cut = _("the last {count} positions").format(count=len(drawn.pieces)) if drawn.start else ""
        yield self.text((fit(asked, max(0, width - len(cut) - 1)), "bar"), (f" {cut}" if cut else "", "faint"))
        facts = self.folded(width, (where + numbers, "text"))
        yield from facts
        yield self.text((f"  {tokens}", "muted"))
        yield from self.map_lines(shown, width, height - 2 - len(facts))

    # The table and the plots of the last position

    def _head(self, answer: "LogitLens", width: int) -> Text:
        target = answer.layers[0].target
        line = self.text((_short_label(target.piece), "hot"), (_(" came next") if answer.target_came else "", "muted"))
        if answer.locks_in is None:
            return line
        layer, last = answer.layers[answer.locks_in], answer.layers[-1]
        likeliest = last.top[0]
        if likeliest.id != target.id:
            line.append_text(self.text((" · ", "muted"), (_short_label(likeliest.piece), "bar")))
        where = _("only at the output") if layer is last else _("from {layer} on").format(layer=short_name(layer))
        line.append_text(self.text((_(" ▸ likeliest {where}").format(where=where), "text")))
        return line

    def _table(self, answer: "LogitLens", width: int, height: int) -> Iterator[Text]:
        token = TOKEN if width >= 60 else TOKEN - 5
        more = max(0, min(4, (width - NAME - token - 2 * SHARE - RANK - 16) // (token + SHARE + 2)))
        bar = max(4, min(24, width - NAME - (more + 1) * (token + SHARE + 2) - SHARE - RANK - 3))
        most = max(layer.target.probability for layer in answer.layers)
        scale, decimals = scale_for(most), min(4, decimals_for(most))
        head = f"  {fit(_('after'), NAME)}{fit(_(' top tokens'), (more + 1) * (token + SHARE + 2))}"
        yield self.text((f"{head}{axis(scale, bar)}{_('target p'):>{SHARE + 1}}{_('rank'):>{RANK - 1}}", "head"))
        for number in self.visible_rows(
            len(answer.layers), min(self.cursor, len(answer.layers) - 1), max(3, height - 1)
        ):
            parts = self._row(answer, number, more, token, bar, scale, decimals)
            yield self.target(number, self.row(number == self.cursor, width, *parts))

    def _row(
        self, answer: "LogitLens", number: int, more: int, token: int, bar: int, scale: float, decimals: int
    ) -> Iterator[tuple[str, str]]:
        layer, first = answer.layers[number], answer.locks_in
        mark = "▸" if number == first else "│" if first is not None and number > first else " "
        yield "›" if number == self.cursor else " ", "text"
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
        yield self.text((" " * AXIS + _("probability of the target"), "head"))
        yield from self.plot(curve(shares, across, room, 0.0, scale), f"{scale:g}", "0", at)
        ranks = tuple(-math.log10(target.rank + 1) for target in targets)
        low = min(-1.0, *ranks)
        yield self.text((" " * AXIS + _("rank of the target, log scale"), "head"))
        yield from self.plot(curve(ranks, across, room, low, 0.0), "1", f"{10**-low:,.0f}", at)
        words = _("{layer} · {share} · rank {rank:,}").format(
            layer=short_name(here), share=percent(here.target.probability, 2), rank=here.target.rank + 1
        )
        yield self.plot_caption(words, across, at)


def _short_label(piece: bytes) -> str:
    """A token in as many cells as it needs, up to 18."""
    return within(label(piece), 18)


def short_name(layer: "LayerPrediction") -> str:
    """A name that fits a column: `3 attention`; `block 3` where attention and MLP are parallel."""
    short = layer.name.removeprefix("block ")
    return part_name(layer.name if short.isdigit() else short)
