"""Integrated gradients in words: from where, and how complete."""

from typing import TYPE_CHECKING

from core.language import N_, _

if TYPE_CHECKING:
    from core.lenses.gradients import InputAttributions

BASELINES = {
    "sink": N_("zeros after the first token"),
    "mean": N_("the mean embedding"),
    "zero": N_("embeddings of zero"),
    "end": N_("the token that ends a text"),
    "corrupt": N_("the corrupt prompt"),
}
COMPLETE = 0.01
"""The largest error, as a share, that counts as complete."""
DOUBTFUL = 0.1
"""The error, as a share, above which the attributions are not to be relied on."""
MANY = 200
"""Steps after which another baseline is proposed."""


def start(answer: "InputAttributions", pending: str = "…") -> str:
    """The baseline, and the measure there, `pending` until it is known."""
    value = pending if answer.baseline_value is None else f"{answer.baseline_value:+.2f}"
    return _("integrated gradients from {baseline} ({value})").format(
        baseline=_(BASELINES[answer.baseline]), value=value
    )


def total(answer: "InputAttributions", *, error: bool = True) -> str:
    """What the attributions sum to, and what they are to sum to; with the error as a share of that."""
    rise = answer.asked.value - (answer.baseline_value or 0.0)
    if not error:
        return _("they sum to {total:+.3f} of {rise:+.3f}").format(total=answer.total, rise=rise)
    return _("they sum to {total:+.3f} of {rise:+.3f}: error {error:.2g} %").format(
        total=answer.total, rise=rise, error=100 * (answer.error_share or 0.0)
    )


def complete(answer: "InputAttributions") -> bool:
    """Whether the sum is right within 1 %."""
    return answer.error_share is not None and answer.error_share <= COMPLETE


def sure(answer: "InputAttributions") -> bool:
    """Whether the sum is right within 10 %, or is not known yet."""
    return answer.error_share is None or answer.error_share <= DOUBTFUL


def advice(answer: "InputAttributions") -> str:
    """What completes in fewer steps, where it takes many; empty where there is no need."""
    if complete(answer) or answer.steps < MANY:
        return ""
    others = [_(BASELINES[name]) for name in ("corrupt", "sink") if name != answer.baseline]
    return _("fewer steps are needed from {baseline}").format(baseline=_(" or ").join(others))
