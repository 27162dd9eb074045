"""The title of the chart of the next token: how uncertain it is, and what its signs mean."""

import math

from rich.cells import cell_len

from core.language import _
from core.sampling.bounds import Bounded, exact, high, through
from core.sampling.values import Chart
from tui.drawing.chart_columns import has_cut

BROAD = 50
"""Cells of a panel above which the title has words that a narrower one leaves out."""


def chart_title(chart: Chart, width: int, room: int, ghost: str) -> tuple[str, str]:
    """Its name and what it says after it, for a panel of `width` cells with `room` for the title.

    The entropy is that of what the model said; where the sampler changes it, that of what is drawn from stands after an
    arrow. `ghost` is what the pale bars show where the model is patched or has an adapter.
    """
    bits, effective = [f"{chart.entropy_bits:.2f}"], [_count(chart.effective)]
    drawn = chart.sampled_entropy_bits
    if drawn is not None and f"{drawn:.2f}" != bits[0]:
        bits.append(f"{drawn:.2f}")
        effective.append(_count(through(math.exp2, drawn)))
    ghosts = [ghost] if chart.candidates[0].unpatched is not None else []
    truth = [_("│ true")] if chart.divergence_bits is not None else []
    more = ghosts or truth or len(bits) > 1
    if width > BROAD and has_cut(chart):
        ghosts.append(_("uncut"))
    signs = [f"░ {', '.join(ghosts)}", *truth] if ghosts else truth
    name = _("next token") if width > BROAD or not (more or not exact(chart.entropy_bits)) else _("next")
    entropy = _("H {bits} bits").format(bits=" → ".join(bits))
    count = f"≈ {' → '.join(effective)}" + (_(" candidates") if width > BROAD and not more else "")
    whole = " · ".join((entropy, count, *signs))
    if (more and width <= BROAD) or cell_len(f"{name} · {whole}") > room:
        whole = " · ".join((entropy, *signs))
    return name, whole


def _count(effective: Bounded) -> str:
    """How many equally likely tokens."""
    return f"{effective:,.0f}" if high(effective) >= 100 else f"{effective:.1f}"
