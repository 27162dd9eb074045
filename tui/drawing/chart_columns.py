"""The columns of the chart of the next token, and what stands in the column of probabilities."""

from core.language import _
from core.sampling.bounds import Bounded, high
from core.sampling.values import Chart
from tui.drawing.text import percent_in

BOTH_ENDS = 70
"""Cells of a panel from which on both ends of a probability that is bounds have room."""
MARKS = 2
"""Cells after the rank: the cursor, and what is known of the token, such as that it was taken."""
TAKEN = " ✓"
"""Stands after the one token that a sampler takes."""


class ChartColumns:
    """Widths of the columns in cells; the bar takes the rest of the row."""

    def __init__(self, rank: int, token: int, bar: int, share: int, logit: int, cut: bool) -> None:
        self.rank, self.token, self.bar, self.share, self.logit, self.cut = rank, token, bar, share, logit, cut
        self.width = rank + MARKS + token + 1 + bar + 1 + share + 1 + logit

    @classmethod
    def of(
        cls, width: int, decimals: int, *, bounded: bool = False, with_logit: bool = True, with_cut: bool = False
    ) -> "ChartColumns":
        """`bounded` leaves room for both ends of a probability, or in a narrow panel for `≥` and one of them.

        `with_cut` leaves room for the brackets around the probability of a token that is cut.
        Without `with_logit` a narrow panel has no column of logits.
        """
        rank, logit, share = 2, 6, max(7, decimals + 3)
        if bounded:
            share = 2 * decimals + 8 if width >= BOTH_ENDS else decimals + 6
        share += 2 * with_cut
        if width < 56 and not with_logit:
            logit = 0
        token = 14 if width < 56 else 18
        bar = width - rank - MARKS - logit - share - token - 3
        if bar < 6:
            token = max(8, token - (6 - bar))
            bar = width - rank - MARKS - logit - share - token - 3
        return cls(rank, token, max(2, bar), share, logit, with_cut)


def has_cut(chart: Chart) -> bool:
    """Whether the sampler is known to cut tokens."""
    if chart.known is not None:
        return any(each.sampled_probability == 0 for each in chart.candidates)
    return high(chart.kept) < chart.vocab_size


def figure(columns: ChartColumns, share: Bounded, own: Bounded | None, decimals: int) -> str:
    """The probability in the draw; in brackets the model's `own` one of what is cut, `cut` where it is not known.

    Where one token is left, its probability in the draw tells nothing: it has the model's own one as well, and a mark.
    """
    if share == 1 and columns.cut and own is not None:
        words = percent_in(own, decimals, columns.share - 2) + TAKEN
    elif share == 0 and own != 0:
        words = _("cut") if own is None else f"({percent_in(own, decimals, columns.share - 2)})"
    else:
        words = percent_in(share, decimals, columns.share - columns.cut) + " " * columns.cut
    return f"{words:>{columns.share}}"
