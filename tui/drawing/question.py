"""The question of causal experiments in words."""

from core.causal.question import Measured
from core.language import _
from tui.drawing.text import label, within

TOKEN = 18
"""Cells of a token at most."""


def why(asked: Measured) -> str:
    """A question and the value of its measure: `why ·my, not ·the: +2.31`."""
    target, value = within(label(asked.piece), TOKEN), f"{asked.value:+.2f}"
    if asked.target.against is not None:
        return _("why {target}, not {against}: {value}").format(
            target=target, against=within(label(asked.against), TOKEN), value=value
        )
    return (
        _("why {target}: logit {value}")
        if asked.target.scale == "logit"
        else _("why {target}: log-probability {value}")
    ).format(target=target, value=value)
