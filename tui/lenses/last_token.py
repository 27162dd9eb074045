"""Owns what the earlier tokens do to the last prediction (S13): one bar for each of them that is changed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text
from textual.content import Content

from core.lenses import lens
from tui.drawing.bars import meter
from tui.drawing.text import fit, label, one_line
from tui.lenses.base import LensPage
from tui.runner import Frame, Question

if TYPE_CHECKING:
    from core.lenses.last_token import LastToken, PositionEffect

HOW = ("replace", "mask", "shuffle")
DOES = {
    "replace": "each earlier token replaced by a random one",
    "mask": "each earlier token hidden from all later ones",
    "shuffle": "each earlier token exchanged with the one before",
}
PLACE, TOKEN, NUMBER = 5, 14, 11


class LastTokenLens(LensPage["LastToken"]):
    """A row a changed token: how far the distribution after the last one moves."""

    NAME = "last_token"
    TITLE = "last token"
    DESCRIPTION = "Does the model use the last token alone? Earlier ones replaced, hidden or shuffled"
    ORDER = 15

    def __init__(self) -> None:
        super().__init__()
        self.how = HOW[0]

    def new_question(self) -> Question:
        how = self.how
        return Question(lambda session: lens("last_token")(session.current_step(), how))

    def show(self, frame: Frame) -> None:
        before = self.answer
        super().show(frame)
        if self.answer and (before is None or before.total != self.answer.total):
            self.cursor = 10**6  # the nearest token
            self.draw()

    def choice_count(self) -> int:
        return len(self.answer.changes) if self.answer else 0

    def switch_view(self) -> None:
        self.how = HOW[(HOW.index(self.how) + 1) % len(HOW)]
        self.ask_again()
        self.draw()

    # Painting --------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        self.border_title = Content(f"last token · {self.how}")
        following = HOW[(HOW.index(self.how) + 1) % len(HOW)]
        self.border_subtitle = Content(f"↑↓ token · o {following}" if self.answer else "")
        super().draw()

    def lines(self, answer: "LastToken", width: int, height: int) -> Iterator[Text]:
        why = self.paragraph(answer.why, "muted", width)
        yield from why
        yield Text()
        yield self.text((DOES[answer.how], "text"), (f" · {one_line(answer.note)}" if answer.note else "", "faint"))
        scale = max([change.kl_bits for change in answer.changes] + [answer.together_bits or 0.0])
        bar = max(6, min(40, width - PLACE - 2 * TOKEN - NUMBER - 5))
        yield self.text(
            (f"{'':>{PLACE}} {'token':<{TOKEN}}  {'instead':<{TOKEN}} {'':<{bar}}{'KL bits':>{NUMBER}}", "head")
        )
        at = min(self.cursor, len(answer.changes) - 1)
        room = height - len(why) - 6
        for number in self.visible_rows(len(answer.changes), max(0, at), max(3, room)):
            yield self._row(answer.changes[number], number == at, scale, bar, width)
        if answer.together_bits is not None:
            name = "all of them" if len(answer.changes) > 1 else "that one"
            yield Text()
            yield self.text(
                (f"{'':>{PLACE}} {name:<{2 * TOKEN + 3}}", "text"),
                (meter(answer.together_bits / scale if scale else 0.0, bar), "bar"),
                (f"{_exact(answer.together_bits):>{NUMBER}}", "text"),
            )

    def _row(self, change: "PositionEffect", chosen: bool, scale: float, bar: int, width: int) -> Text:
        instead = label(change.by) if change.by else "hidden"
        return self.row(
            chosen,
            width,
            (f"{change.position:>{PLACE}} ", "faint"),
            (fit(label(change.piece), TOKEN), "text"),
            ("→ ", "faint"),
            (fit(instead, TOKEN) + " ", "muted"),
            (meter(change.kl_bits / scale if scale else 0.0, bar), "bar"),
            (f"{_exact(change.kl_bits):>{NUMBER}}", "text"),
        )


def _exact(bits: float) -> str:
    """A divergence in bits; one that is zero to the last bit says so."""
    return "exactly 0" if bits == 0 else f"{bits:.6f}"
