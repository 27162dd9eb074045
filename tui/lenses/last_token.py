"""How the prediction after the last token depends on earlier tokens: one bar for each token that is changed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from core.language import N_, _
from core.lenses import lens
from tui.drawing.bars import meter
from tui.drawing.text import fit, label, one_line
from tui.lenses.base import KeyWords, LensPage
from tui.runner import Frame, Question

if TYPE_CHECKING:
    from core.lenses.last_token import LastToken, PositionEffect

METHODS = (N_("replace"), N_("mask"), N_("shuffle"))
EXPLANATIONS = {
    "replace": N_("each earlier token replaced by a random one"),
    "mask": N_("each earlier token masked for all later positions"),
    "shuffle": N_("each earlier token swapped with the one before it"),
}
POSITION, TOKEN, NUMBER = 5, 14, 11


class LastTokenLens(LensPage["LastToken"]):
    """One row for each changed token: the KL divergence of the distribution after the last token."""

    NAME = "last_token"
    TITLE = N_("last token")
    DESCRIPTION = N_("Does only the last token count? Earlier ones are changed")
    ORDER = 15
    GROUP = N_("Compare")
    ALSO = N_("bigram ablate replace mask shuffle")
    KEYS = KeyWords(move=N_("token"), view=N_("method"))

    def __init__(self) -> None:
        super().__init__()
        self.method = METHODS[0]

    def new_question(self) -> Question:
        method = self.method
        return Question(lambda session: lens("last_token")(session.current_step(), method))

    def show(self, frame: Frame) -> None:
        before = self.answer
        super().show(frame)
        if self.answer and (before is None or before.total != self.answer.total):
            self.cursor = 10**6  # the last row
            self.draw()

    def choice_count(self) -> int:
        return len(self.answer.changes) if self.answer else 0

    def switch_view(self) -> None:
        self.method = METHODS[(METHODS.index(self.method) + 1) % len(METHODS)]
        self.ask_again()
        self.draw()

    # Painting --------------------------------------------------------------------------------------------------------

    def title_detail(self) -> str:
        return _(self.method)

    def draw(self) -> None:
        following = METHODS[(METHODS.index(self.method) + 1) % len(METHODS)]
        self.hint(_("↑↓ token · o {following}").format(following=_(following)) if self.answer else "")
        super().draw()

    def lines(self, answer: "LastToken", width: int, height: int) -> Iterator[Text]:
        explanation = self.paragraph(answer.why, "muted", width)
        yield from explanation
        yield Text()
        yield self.text(
            (_(EXPLANATIONS[answer.how]), "text"), (f" · {one_line(answer.note)}" if answer.note else "", "faint")
        )
        scale = max([change.kl_bits for change in answer.changes] + [answer.together_bits or 0.0])
        bar = max(6, min(40, width - POSITION - 2 * TOKEN - NUMBER - 5))
        yield self.text(
            (
                f"{'':>{POSITION}} {_('token'):<{TOKEN}}  {_('becomes'):<{TOKEN}} {'':<{bar}}{_('KL bits'):>{NUMBER}}",
                "head",
            )
        )
        at = min(self.cursor, len(answer.changes) - 1)
        room = height - len(explanation) - 6
        for number in self.visible_rows(len(answer.changes), max(0, at), max(3, room)):
            yield self.target(number, self._row(answer.changes[number], number == at, scale, bar, width))
        if answer.together_bits is not None:
            name = _("all at once") if len(answer.changes) > 1 else _("this one")
            yield Text()
            yield self.text(
                (f"{'':>{POSITION}} {name:<{2 * TOKEN + 3}}", "text"),
                (meter(answer.together_bits / scale if scale else 0.0, bar), "bar"),
                (f"{_exact(answer.together_bits):>{NUMBER}}", "text"),
            )

    def _row(self, change: "PositionEffect", chosen: bool, scale: float, bar: int, width: int) -> Text:
        replacement = label(change.by) if change.by else _("masked")
        return self.row(
            chosen,
            width,
            (f"{change.position:>{POSITION}} ", "faint"),
            (fit(label(change.piece), TOKEN), "text"),
            ("→ ", "faint"),
            (fit(replacement, TOKEN) + " ", "muted"),
            (meter(change.kl_bits / scale if scale else 0.0, bar), "bar"),
            (f"{_exact(change.kl_bits):>{NUMBER}}", "text"),
        )


def _exact(bits: float) -> str:
    """A divergence in bits; `exactly 0` where both distributions are equal bit by bit."""
    return _("exactly 0") if bits == 0 else f"{bits:.6f}"
