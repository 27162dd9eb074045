"""What softmax makes of the logits of this step when they are scaled, and when softmax is repeated."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from core.language import N_, _
from core.sampling.values import SoftmaxLab
from tui.drawing.bars import bars
from tui.drawing.text import fit, label, percent
from tui.lenses.base import KeyWords, LensPage
from tui.reports.softmax import heated_title, outcome, repeated_title
from tui.runner import Question

if TYPE_CHECKING:
    from core.walk.session import Session

SHOWN = 8
"""Tokens whose logits are used."""
NUMBERS = 50
"""Cells of the columns of numbers."""
FACTORS = (1, 2, 5, 10, 20, 50, 100, 1000)


class SoftmaxLens(LensPage[SoftmaxLab]):
    """The logits of the likeliest tokens, multiplied by a factor; `o` shows repetition and temperature."""

    NAME = "softmax"
    TITLE = N_("softmax")
    DESCRIPTION = N_("Softmax without overflow, repeated, at other temperatures")
    ORDER = 6
    PICKS = False
    GROUP = N_("Next token")
    ALSO = N_("temperature exp normalize")
    KEYS = KeyWords(view=N_("view"), across=N_("scale"))

    def __init__(self) -> None:
        super().__init__()
        self._factor = 0
        self.second_view = False
        """Whether repetition and temperature are shown."""

    def new_question(self) -> Question:
        factor = FACTORS[self._factor]

        def lab(session: "Session") -> SoftmaxLab:
            from core.sampling.softmax import other_logits, softmax_lab  # noqa: PLC0415

            shown = session.chart(SHOWN).candidates
            others = other_logits(session.distribution(), [each.id for each in shown])
            return softmax_lab([factor * each.logit for each in shown], others=factor * others)

        return Question(lab, live=True)

    def adjust(self, down: int, across: int) -> None:
        self._factor = max(0, min(self._factor + across, len(FACTORS) - 1))
        self.ask_again()

    def switch_view(self) -> None:
        self.second_view = not self.second_view
        self.draw()

    # Painting --------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        super().draw()
        other = _("maximum") if self.second_view else _("repetition, temperature")
        keys = _("⇧←→ ln p × {factor} · o {other}") if self._logprobs else _("⇧←→ logits × {factor} · o {other}")
        self.hint(keys.format(factor=FACTORS[self._factor], other=other))

    @property
    def _logprobs(self) -> bool:
        """Whether an engine elsewhere gives log-probabilities, and no logits."""
        snapshot = self.frame.snapshot
        return bool(snapshot and snapshot.chart and snapshot.chart.from_logprobs)

    @property
    def score(self) -> str:
        """What softmax is given."""
        return "ln p" if self._logprobs else "logit"

    def lines(self, answer: SoftmaxLab, width: int, height: int) -> Iterator[Text]:
        names = self.names(answer)
        yield from (
            self._repeated_and_heated(answer, names, width)
            if self.second_view
            else self._naive_and_stable(answer, names, width)
        )

    def names(self, answer: SoftmaxLab) -> list[str]:
        """The tokens whose logits are used."""
        snapshot = self.frame.snapshot
        chart = snapshot.chart.candidates if snapshot and snapshot.chart else ()
        names = [label(candidate.piece) for candidate in chart[: len(answer.logits)]]
        return names + [""] * (len(answer.logits) - len(names))

    def _naive_and_stable(self, answer: SoftmaxLab, names: list[str], width: int) -> Iterator[Text]:
        words = _(
            "Softmax over the likeliest tokens, in float32: the plain formula, and with the maximum subtracted first. "
            "Both give the same shares until exp overflows."
        )
        yield from self.paragraph(words, "muted", width)
        name = max(6, min(14, width - NUMBERS))
        yield Text()
        yield self.text(
            (
                f"{fit(_('token'), name)}{self.score:>9}{'exp(x)':>11}{_('share'):>9}{'exp(x−max)':>12}{_('share'):>9}",
                "head",
            )
        )
        naive, stable = answer.naive, answer.stable
        for at, piece in enumerate(names):
            broken = not math.isfinite(naive.shares[at])
            yield self.text(
                (fit(piece, name), "text"),
                (f"{answer.logits[at]:>9.2f}", "muted"),
                (f"{naive.powers[at]:>11.3g}", "hot" if math.isinf(naive.powers[at]) else "muted"),
                (f"{naive.shares[at]:>9.4f}", "hot" if broken else "text"),
                (f"{stable.powers[at]:>12.3g}", "muted"),
                (f"{stable.shares[at]:>9.4f}", "text"),
            )
        yield self.text(
            (f"{fit(_('sum'), name)}{'':9}", "muted"),
            (f"{naive.total:>11.3g}", "hot" if math.isinf(naive.total) else "muted"),
            (f"{sum(naive.shares):>9.4f}", "muted" if naive.works else "hot"),
            (f"{stable.total:>12.3g}{sum(stable.shares):>9.4f}", "muted"),
        )
        yield Text()
        yield from self.paragraph(outcome(answer), "muted" if naive.works else "hot", width)

    def _repeated_and_heated(self, answer: SoftmaxLab, names: list[str], width: int) -> Iterator[Text]:
        each = max(4, (width - 16) // 2 - 2)
        for title, rows, form in (
            (repeated_title(answer), answer.repeated, "{:g}×"),
            (heated_title(), answer.temperatures, "T {:g}"),
        ):
            yield from self.folded(width, (title, "muted"))
            yield self.text(
                (f"{'':6}{fit(names[0], each)} {fit(names[1] if len(names) > 1 else '', each)}{_('H bits'):>8}", "head")
            )
            for row in rows:
                first, second = row.shares[0], row.shares[1] if len(row.shares) > 1 else 0.0
                one, two = bars([first, second], [0.0, 0.0], each - 7, 1.0)
                yield self.text(
                    (f"{form.format(row.setting):<6}", "text"),
                    (one, "bar"),
                    (f"{percent(first, 2):>7}", "text"),
                    (" ", "text"),
                    (two, "ghost"),
                    (f"{percent(second, 2):>7}", "muted"),
                    (f"{row.entropy_bits:>8.3f}", "text"),
                )
            yield Text()
