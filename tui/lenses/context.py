"""How uncertain the next token is after each prefix of the prompt, as a table or as plots (article: search space)."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from core.language import N_, _
from core.lenses import lens
from core.sampling.bounds import Bounded, high, low, through
from tui.drawing.bars import meter
from tui.drawing.plots import curve
from tui.drawing.text import count_in, fit, fixed_in, label, percent, within
from tui.lenses.base import AXIS, KeyWords, LensPage
from tui.runner import Frame, Question

if TYPE_CHECKING:
    from core.activations.trace import Step
    from core.lenses.context import ContextTable, PrefixRow
    from core.walk.session import Session

EXAMPLE = "I prefer oat milk in"
"""The prompt that is measured while the prompt is empty."""
TOKEN, BITS, COUNT, SHARE = 13, 7, 10, 8
NARROW = 67
"""Cells below which labels of tokens are shortened."""


def _step_to_measure(session: "Session") -> "Step":
    """The step at the cursor, or the end of the example where the walk has one token at most."""
    step = session.current_step()
    if len(session.tokens) > 1:
        return step
    ids = session.model.tokenizer.encode(EXAMPLE)[-session.model.info.context :]
    return replace(step, ids=tuple(ids), cache=None, target=None)


class ContextLens(LensPage["ContextTable"]):
    """One row for each prefix; each is one token longer than the one above."""

    NAME = "context"
    TITLE = N_("context")
    DESCRIPTION = N_("How each token narrows what can follow: entropy, candidates")
    ORDER = 14
    GROUP = N_("Compare")
    ALSO = N_("entropy prefix window")
    KEYS = KeyWords(move=N_("prefix"), view=N_("view"))

    def __init__(self) -> None:
        super().__init__()
        self.plotted = False
        """Whether the plots are shown instead of the table."""

    def new_question(self) -> Question:
        return Question(lambda session: lens("context")(_step_to_measure(session)))

    def show(self, frame: Frame) -> None:
        before = self.answer.total if self.answer else 0
        super().show(frame)
        if self.answer and self.answer.total != before:  # begin at the last prefix, where the cursor of the walk is
            self.cursor = self.answer.total - 1
            self.draw()

    def choice_count(self) -> int:
        return len(self.answer.rows) if self.answer else 0

    def switch_view(self) -> None:
        self.plotted = not self.plotted
        self.draw()

    # Painting --------------------------------------------------------------------------------------------------------

    def title_detail(self) -> str:
        return _("an example") if self.frame.snapshot and len(self.frame.snapshot.tokens) == 1 else ""

    def draw(self) -> None:
        other = _("the table") if self.plotted else _("plot")
        self.hint(_("↑↓ prefix · o {other}").format(other=other) if self.answer else "")
        super().draw()

    def lines(self, answer: "ContextTable", width: int, height: int) -> Iterator[Text]:
        if not answer.rows:
            return
        at = min(self.cursor, len(answer.rows) - 1)
        yield self._sentence(answer.rows[at], answer.note, width)
        yield Text()
        yield from self._plots(answer, at, width, height) if self.plotted else self._table(answer, at, width, height)

    def _sentence(self, row: "PrefixRow", note: str, width: int) -> Text:
        line = self.text(
            (_("after "), "muted"),
            (within(label(row.piece), 16), "text"),
            (_(": as uncertain as {count} equally likely tokens").format(count=_count(row.effective)), "muted"),
        )
        rank = _(" · the next token had rank {place:,}").format(place=row.came.place + 1) if row.came else ""
        for words, style in ((rank, "muted"), (f" · {note}" if note else "", "faint")):
            if line.cell_len + len(words) <= width:
                line.append_text(self.text((words, style)))
        return line

    def _table(self, answer: "ContextTable", at: int, width: int, height: int) -> Iterator[Text]:
        most = max(high(row.entropy_bits) for row in answer.rows)
        token = max(6, TOKEN - max(0, NARROW - width + 1) // 2)
        fixed = 2 + token + BITS + 1 + 2 * COUNT + 2
        bar = max(3, min(16, width - fixed - token + 2 - SHARE))
        top = max(1, (width + 2 - fixed - bar) // (token + SHARE))
        head = (
            f"{_('after'):<{token + 2}}{_('H bits'):>{BITS}} {'':<{bar}}"
            f"{_('effective'):>{COUNT}}{'90 %':>{COUNT}}  {_('likeliest')}"
        )
        yield self.text((head, "head"))
        for number in self.visible_rows(len(answer.rows), at, max(3, height - 3)):
            row = answer.rows[number]
            parts: list[tuple[str, str]] = [
                ("› " if number == at else "  ", "text"),
                (fit(label(row.piece), token), "text" if number == at else "muted"),
                (f"{fixed_in(row.entropy_bits, 2, BITS):>{BITS}} ", "text"),
                (meter(low(row.entropy_bits) / (most or 1.0), bar), "bar"),
                (f"{_count(row.effective, COUNT - 1):>{COUNT}}{count_in(row.mass90, COUNT - 1):>{COUNT}}  ", "muted"),
            ]
            for candidate in row.top[:top]:
                came = row.came is not None and candidate.id == row.came.id
                parts.append((fit(label(candidate.piece), token - 2), "hot" if came else "text"))
                parts.append((f"{percent(candidate.probability, 2):>{SHARE}}  ", "muted"))
            yield self.target(number, self.row(number == at, width, *parts))

    def _plots(self, answer: "ContextTable", at: int, width: int, height: int) -> Iterator[Text]:
        rows = answer.rows
        room, across = max(2, (height - 5) // 2), max(8, width - AXIS)
        column = round((across - 1) * at / max(1, len(rows) - 1))
        bits = tuple(low(row.entropy_bits) for row in rows)
        high = float(max(1, math.ceil(max(bits))))
        yield self.text((" " * AXIS + _("entropy, bits"), "head"))
        yield from self.plot(curve(bits, across, room, 0.0, high), f"{high:g}", "0", column)
        counts = tuple(math.log10(low(row.mass90)) for row in rows)
        most = float(max(1, math.ceil(max(counts))))
        words = _("tokens that hold 90 % of the probability, log scale")
        yield self.text((" " * max(0, min(AXIS, width - cell_len(words))) + words, "head"))
        yield from self.plot(curve(counts, across, room, 0.0, most), f"{10**most:,.0f}", "1", column)
        row = rows[at]
        yield self.plot_caption(
            _("{token} · {entropy:.2f} bits · {mass90:,}").format(
                token=label(row.piece), entropy=row.entropy_bits, mass90=row.mass90
            ),
            across,
            column,
        )


def _count(effective: Bounded, width: int = 99) -> str:
    return fixed_in(effective, 1, width) if low(effective) < 100 else count_in(through(round, effective), width)
