"""The question of causal experiments in words."""

from rich.cells import cell_len

from core.causal.question import Measured
from core.language import _
from tui.drawing.text import label, within

TOKEN = 18
"""Cells of a token at most."""


def why(asked: Measured, listed: int | None = None, token: int = TOKEN) -> str:
    """A question and the value of its measure: `why ·my, not ·the: logit difference +2.31`.

    A token that is not among the `listed` likeliest ones has its rank after it; each has at most `token` cells.
    """
    words = [_named(piece, asked, at, listed, token) for at, piece in enumerate((asked.piece, asked.against))]
    value = f"{asked.value:+.2f}"
    if asked.target.against is not None:
        return _("why {target}, not {against}: logit difference {value}").format(
            target=words[0], against=words[1], value=value
        )
    return (
        _("why {target}: logit {value}")
        if asked.target.scale == "logit"
        else _("why {target}: log-probability {value}")
    ).format(target=words[0], value=value)


def why_in(asked: Measured, listed: int, width: int, where: str) -> str:
    """As `why`, and `where` it is explained, in `width` cells where that is possible: else as A − B, or alone."""
    long, short = why(asked, listed), why(asked, listed, 8)
    forms = [f"{long} · {where}", long, short]
    if asked.target.against is not None:
        letters = _("A − B: logit difference {value}").format(value=f"{asked.value:+.2f}")
        if all(rank < listed for rank in asked.ranks):  # the rows of both tokens have these letters
            forms.insert(1, f"{letters} · {where}")
        forms.append(letters)
    return next((each for each in forms if cell_len(each) <= width), forms[-1])


def _named(piece: bytes, asked: Measured, at: int, listed: int | None, token: int) -> str:
    name = within(label(piece), token)
    if listed is None or at >= len(asked.ranks) or asked.ranks[at] < listed:
        return name
    return _("{token} (rank {rank:,})").format(token=name, rank=asked.ranks[at] + 1)
