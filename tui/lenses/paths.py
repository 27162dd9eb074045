"""Path patching: a heat map of senders, and a receiver that is picked on it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.text import Text

from core.language import N_, _
from core.lenses import lens
from tui.drawing.bars import meter
from tui.drawing.heat_map import HeatMap
from tui.drawing.text import fit, signed
from tui.lenses.base import ExperimentPage, HeatMapPage, KeyWords
from tui.runner import Question

if TYPE_CHECKING:
    from core.lenses.paths import Paths
    from core.walk.session import Session

INPUTS = ("q", "k", "v")
"""What of a head can receive, in the order in which `⏎` goes through them."""
BAR = 12
"""Cells of the progress bar."""
WEAKEST = 0.1
"""The scale of colors at least: a single path often carries little."""


class PathsLens(HeatMapPage["Paths"], ExperimentPage["Paths"]):
    """Rows are layers, columns heads and the MLP. `⏎` makes the sender under the cursor the receiver."""

    NAME = "paths"
    TITLE = N_("path patching")
    DESCRIPTION = N_("Which heads and MLPs send the answer directly to one reader")
    ORDER = 43
    GROUP = N_("Why")
    ALSO = N_("path patching sender receiver")
    KEYS = KeyWords(move=N_("row"), choose=N_("receive"), view=N_("back"), across=N_("column"))

    def __init__(self) -> None:
        super().__init__()
        self.receiver = "final"
        self._before: list[str] = []
        """The receivers that were chosen before, the last one at the end."""

    def options(self) -> dict[str, Any]:
        return {"receiver": self.receiver}

    def new_question(self) -> Question:
        options = self.options()

        def ask(session: "Session") -> Iterator[Any]:
            question = session.current_question()
            return session.reader.without_swaps(lambda: lens("paths")(session.current_step(), question, **options))

        return Question(ask)

    # Keys ------------------------------------------------------------------------------------------------------------

    def choose(self, number: int | None = None) -> None:
        """`⏎`: the queries of the head under the cursor, or its MLP; digits 1 to 3: queries, keys or values."""
        drawn = self.heat_map()
        if not drawn or not drawn.rows or (number or 1) > len(INPUTS):
            return
        mlp = drawn.columns[self.column] == "mlp"
        if mlp and number is None:
            self._receive(f"mlp {self.cursor}")
        elif not mlp:
            self._receive(f"{INPUTS[(number or 1) - 1]} {self.cursor}.{self.column}")

    def switch_view(self) -> None:
        """The receiver before, and at the beginning the output."""
        if self._before:
            self.receiver = self._before.pop()
            self.ask_again()
            self.draw()

    def _receive(self, receiver: str) -> None:
        if receiver != self.receiver:
            self._before.append(self.receiver)
            self.receiver = receiver
            self.ask_again()
            self.draw()

    # Painting --------------------------------------------------------------------------------------------------------

    def heat_map(self) -> HeatMap | None:
        if self.answer is None:
            return None
        answer = self.answer
        rows = tuple((*heads, *answer.mlp[n : n + 1]) for n, heads in enumerate(answer.heads))
        heads = len(answer.heads[0]) if answer.heads else 0
        columns = (*map(str, range(heads)), *(["mlp"] if answer.mlp else []))
        known = [abs(value) for row in rows for value in row if value is not None]
        scale = min(1.0, max(WEAKEST, *known)) if known else 1.0
        return HeatMap(tuple(f"{n:>2}" for n in range(len(rows))), columns, rows, scale)

    def title_detail(self) -> str:
        answer = self.answer
        if answer is None and self.receiver == "final":
            return ""
        return _("to {receiver}").format(
            receiver=answer.label if answer and answer.receiver == self.receiver else self.receiver
        )

    def draw(self) -> None:
        if drawn := self.heat_map():
            self.cursor = max(0, min(self.cursor, len(drawn.rows) - 1))
            self.column = max(0, min(self.column, len(drawn.columns) - 1))
        back = _(" · o back to {before}").format(before=self._before[-1]) if self._before else ""
        self.hint(_("↑↓ ⇧←→ sender · ⏎ receive · 1 q 2 k 3 v{back}").format(back=back) if self.answer else "")
        super().draw()

    def at_cursor(self, answer: "Paths") -> str:
        drawn = self.heat_map()
        return ": ".join(self._cell(answer, drawn)) if drawn else ""

    def _cell(self, answer: "Paths", drawn: HeatMap) -> tuple[str, str]:
        """The sender under the cursor, and its numbers."""
        value = drawn.at(self.cursor, self.column)
        known = drawn.columns[self.column] if drawn.rows else ""
        where = (
            f"MLP {self.cursor}"
            if known == "mlp"
            else _("head {layer}.{head}").format(layer=self.cursor, head=known)
            if known
            else _("no head before it")
        )
        return where, (signed(value) if known else "") + _("  embedding {value}").format(value=signed(answer.embedding))

    def lines(self, answer: "Paths", width: int, height: int) -> Iterator[Text]:
        corrupt = _(" · corrupt {corrupt:+.2f}").format(corrupt=answer.corrupt)
        head = self.why(answer, max(0, width - len(corrupt)))
        head.append_text(self.text((corrupt, "muted")))
        yield head
        progress = self.frame.progress
        done = (
            f"{meter(progress.done / max(1, progress.total), BAR)} {progress.done}/{progress.total}" if progress else ""
        )
        drawn = self.heat_map()
        assert drawn
        done = done or _strongest(drawn)
        words = _("one sender directly to {label}; 0 corrupt, 1 clean").format(label=answer.label)
        above = self.at_both_ends(width, (words, "text"), (done, "bar"))
        yield from above
        where, numbers = self._cell(answer, drawn)
        yield self.text((fit(where, max(0, width - len(numbers) - 2)) + "  ", "muted"), (numbers, "text"))
        if drawn.rows:
            yield from self.map_lines(drawn, width, height - 2 - len(above))


def _strongest(drawn: HeatMap) -> str:
    """The sender with the largest value."""
    known = [
        (abs(value), n, m) for n, row in enumerate(drawn.values) for m, value in enumerate(row) if value is not None
    ]
    if not known:
        return ""
    _unused, row, column = max(known)
    name = drawn.columns[column]
    where = f"MLP {row}" if name == "mlp" else f"{row}.{name}"
    return _("strongest {where} {value}").format(where=where, value=signed(drawn.at(row, column)))
