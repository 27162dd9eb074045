"""Integrated gradients in words: from where, and how complete."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.lenses.gradients import InputAttributions

BASELINES = {
    "sink": "zeros after the first token",
    "mean": "the mean embedding",
    "zero": "embeddings of zero",
    "end": "the token that ends a text",
    "corrupt": "the corrupt prompt",
}
COMPLETE = 0.01
"""The largest error, as a share, that counts as complete."""
MANY = 200
"""Steps after which another baseline is proposed."""


def start(answer: "InputAttributions", pending: str = "…") -> str:
    """The baseline, and the measure there, `pending` until it is known."""
    value = pending if answer.baseline_value is None else f"{answer.baseline_value:+.2f}"
    return f"integrated gradients from {BASELINES[answer.baseline]} ({value})"


def total(answer: "InputAttributions") -> str:
    """What the attributions sum to, and what they are to sum to."""
    rise = answer.asked.value - (answer.baseline_value or 0.0)
    return f"they sum to {answer.total:+.3f} of {rise:+.3f}: error {100 * (answer.error_share or 0.0):.2g} %"


def complete(answer: "InputAttributions") -> bool:
    """Whether the sum is right within 1 %."""
    return answer.error_share is not None and answer.error_share <= COMPLETE


def advice(answer: "InputAttributions") -> str:
    """What completes in fewer steps, where it takes many; empty where there is no need."""
    if complete(answer) or answer.steps < MANY:
        return ""
    others = [BASELINES[name] for name in ("corrupt", "sink") if name != answer.baseline]
    return f"fewer steps: from {' or '.join(others)}"
