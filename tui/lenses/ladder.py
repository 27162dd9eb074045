"""The prompt on every rung of the ladder: what each rung adds, and the divergence between every two of them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from core.language import N_, _
from core.lenses import lens
from tui.drawing.bars import meter
from tui.drawing.heat_map import window
from tui.drawing.text import compact, fit, label, one_line, percent, within
from tui.lenses.base import KeyWords, LensPage
from tui.runner import Question

if TYPE_CHECKING:
    from core.lenses.ladder import Ladder, RungResult

NAME, COUNT, LOSS, TOKEN, SHARE = 15, 8, 8, 11, 9
WHOLE = 64
"""Cells from which on the table has all of its columns; in fewer it has none of what a rung adds."""
CELL = 6
"""Cells of a divergence at least."""


class LadderLens(LensPage["Ladder"]):
    """One row for each rung; its other view is a matrix of KL divergences between rungs."""

    NAME = "ladder"
    TITLE = N_("ladder")
    DESCRIPTION = N_("The prompt on every rung: parameters, loss, likeliest, KL")
    ORDER = 17
    GROUP = N_("Learning")
    ALSO = N_("rungs models loss")
    KEYS = KeyWords(move=N_("rung"), view=N_("view"))

    def __init__(self) -> None:
        super().__init__()
        self.divergences = False
        """Whether the KL matrix is shown."""
        self._first_column = 0

    def new_question(self) -> Question:
        return Question(lambda session: lens("ladder")(session.current_step()))

    def waiting_text(self) -> str:
        return _("building the rungs …")

    def choice_count(self) -> int:
        return len(self.answer.rungs) if self.answer else 0

    def current_lines(self) -> tuple[int, int]:
        row = self.cursor + (3 if self.divergences else 1)
        return (row if self.cursor else 0), row

    def switch_view(self) -> None:
        self.divergences = not self.divergences
        self.draw()

    # Painting --------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        other = _("the rungs") if self.divergences else _("KL between them")
        self.hint(_("↑↓ rung · o {other}").format(other=other) if self.answer else "")
        super().draw()

    def lines(self, answer: "Ladder", width: int, height: int) -> Iterator[Text]:
        if not answer.rungs:
            return
        at = min(self.cursor, len(answer.rungs) - 1)
        yield from self._matrix(answer, at, width) if self.divergences else self._table(answer, at, width)
        for note in answer.notes:
            yield Text()
            yield from self.paragraph(note, "faint", width)

    def _table(self, answer: "Ladder", at: int, width: int) -> Iterator[Text]:
        adds = COUNT if width >= WHOLE else 0
        used = 2 + NAME + COUNT + adds + LOSS + TOKEN + SHARE + 3
        bar = max(0, min(20, width - used - SHARE - 2)) if width - used > 14 else 0
        words = _("adds") if adds else ""
        head = f"  {_('rung'):<{NAME}}{_('size'):>{COUNT}}{words:>{adds}}{_('loss'):>{LOSS}}  {'':<{bar}}"
        yield self.text((f"{head} {_('likeliest'):<{TOKEN}}{'p':>{SHARE}}", "head"))
        for number, rung in enumerate(answer.rungs):
            yield self.target(number, self.row(number == at, width, *self._row(rung, number == at, bar, adds)))
        yield Text()
        yield from self._detail(answer.rungs[at], width)

    def _row(self, rung: "RungResult", chosen: bool, bar: int, adds: int) -> Iterator[tuple[str, str]]:
        yield "› " if chosen else "  ", "text"
        yield fit(one_line(rung.name), NAME), "text"
        yield f"{compact(rung.parameters):>{COUNT}}", "text"
        if adds:
            added = (
                "" if rung.trained else f"{'+' if rung.added >= 0 else '-'}{compact(abs(rung.added))}".replace(" ", "")
            )
            yield f"{added:>{adds}}", "muted"
        yield f"{'' if rung.loss is None else f'{rung.loss:.2f}':>{LOSS}}  ", "text"
        if bar:
            share = 0.0 if rung.loss is None else rung.loss / (1.25 * rung.ln_v)
            line = int(bar / 1.25)
            drawn = meter(share, bar)
            yield drawn[:line] + ("│" if drawn[line] == " " else drawn[line]) + drawn[line + 1 :], "bar"
        yield " " + fit(label(rung.top.piece), TOKEN), "text"
        yield f"{percent(rung.top.probability, 4 if rung.top.probability < 0.01 else 2):>{SHARE}}", "muted"

    def _detail(self, rung: "RungResult", width: int) -> Iterator[Text]:
        yield self.text((one_line(_(rung.title)), "bar"))
        yield from self.paragraph(_(rung.adds), "text", width)
        loss = _("loss {loss:.4f} nats · ").format(loss=rung.loss) if rung.loss is not None else ""
        yield from self.folded(
            width,
            (_("{loss}a uniform guess has ln V = {ln_v:.4f} nats").format(loss=loss, ln_v=rung.ln_v), "muted"),
        )
        if rung.target:
            name = within(label(rung.target.piece), 16)
            words = _(" came next: {share}, rank {rank:,}").format(
                share=percent(rung.target.probability, 4), rank=rung.target.rank + 1
            )
            yield self.text((name, "hot"), (words, "muted"))
        if rung.differences:
            yield Text()
            for each in rung.differences:
                yield self.text(
                    (f"  {each.name:<18}", "muted"),
                    (one_line(each.before), "faint"),
                    (" → ", "faint"),
                    (within(one_line(each.after), width - 30), "text"),
                )

    def _matrix(self, answer: "Ladder", at: int, width: int) -> Iterator[Text]:
        yield self.text((_("KL(row ‖ column) of the next token, bits"), "muted"))
        yield Text()
        names = [_short_name(rung) for rung in answer.rungs]
        cell = max(CELL, min(10, (width - NAME - 2) // max(1, len(names))))
        columns = window(len(names), at, (width - NAME - 2) // cell, self._first_column)
        self._first_column = columns.start
        head = "".join(f"{names[n]:>{cell}}" for n in columns)
        yield self.text((f"{'':{NAME + 2}}{head}", "head"))
        largest = max((value for row in answer.kl_bits for value in row if value is not None), default=0.0) or 1.0
        for number, (rung, row) in enumerate(zip(answer.rungs, answer.kl_bits, strict=True)):
            line = self.text(("› " if number == at else "  ", "text"), (fit(one_line(rung.name), NAME), "text"))
            for value in (row[n] for n in columns):
                line.append(in_cell(value, cell), self.tint((value or 0.0) / largest))
            yield line
        if len(columns) < len(names):
            yield self.text(
                (
                    fit("", NAME + 2)
                    + _("columns {first}–{last} of {count}").format(
                        first=columns.start + 1, last=columns.stop, count=len(names)
                    ),
                    "faint",
                )
            )


def in_cell(value: float | None, width: int) -> str:
    """A divergence in `width` cells, the first of them blank, with up to three decimals."""
    if not value:
        return f"{'–' if value is None else '0':>{width}}"
    if value < 0.0005:
        return f"{value:.0e}".replace("e-0", "e-").rjust(width)
    shown = [f"{value:.{decimals}f}" for decimals in (3, 2, 1, 0)]
    return next((text for text in shown if len(text) < width), shown[-1]).rjust(width)


def _short_name(rung: "RungResult") -> str:
    """`3`, or `3t` for the trained version of rung 3."""
    return one_line(rung.name).removeprefix("model").replace("-trained", "t")
