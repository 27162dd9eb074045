"""Which columns of a table of tokens and stages fit into a panel, and how wide they are."""

from typing import NamedTuple

from core.sampling.bounds import high
from core.sampling.explanation import SamplerLens
from tui.drawing.text import decimals_for

NARROW, WIDE = 8, 12
"""Cells of the column of a stage at least, and where there is room."""
MARK = 3
"""Cells of a mark that says how many columns are hidden on one side."""


class StageColumns(NamedTuple):
    """Widths in cells; 0 for a column that has no room."""

    token: int
    logit: int
    figure: int
    """Of a probability."""
    left: int
    """The bar of the probability before the sampler."""
    right: int
    """The bar of the probability after the sampler."""
    stage: int
    shown: range
    """The stages that have a column, by number."""
    before: str
    """A mark of the hidden stages before those, and after."""
    after: str
    decimals: int


def fit_columns(answer: SamplerLens, width: int, cursor: int) -> StageColumns:
    """The columns that fit into `width` cells.

    Bars are dropped first, then logits, then long labels; then the stages scroll so that the one at the cursor is seen.
    """
    decimals = min(4, decimals_for(max(high(row.shares[0]) for row in answer.rows)))
    figure, count = max(8, decimals + 4), len(answer.stages)

    def free(token: int, logit: int, stage: int = NARROW) -> int:
        return width - token - logit - 2 * figure - 2 - count * stage

    token, logit = next((each for each in ((14, 7), (14, 0), (9, 0)) if free(*each) >= 0), (9, 0))
    stage = WIDE if free(token, logit, WIDE) >= 16 else NARROW
    room = free(token, logit, stage)
    if room >= 0:
        return StageColumns(token, logit, figure, room // 2, room - room // 2, stage, range(count), "", "", decimals)
    fits = max(1, (width - token - logit - 2 * figure - 2 - 2 * MARK) // stage)
    first = max(0, min(cursor - fits // 2, count - fits))
    shown = range(first, min(count, first + fits))
    before = f"‹{first}".ljust(MARK) if first else " " * MARK
    after = f"{count - shown.stop}›".rjust(MARK) if shown.stop < count else " " * MARK
    rest = width - token - logit - 2 * figure - 2 - 2 * MARK - len(shown) * stage
    return StageColumns(token, logit, figure, 0, max(0, rest), stage, shown, before, after, decimals)
