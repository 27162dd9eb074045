"""Says why one candidate has nearly all of the probability."""

import math

from rich.cells import cell_len

from core.language import N_, _
from core.sampling.bounds import low
from core.sampling.values import Chart
from tui.drawing.text import percent

BULK = 0.999
"""Of the probability: a candidate that has it is a peak; candidates after those that hold it are the tail."""
FORMS = (
    N_("{gap:.2f} nats of logit above the next: {times} times as likely · all but it share {rest}"),
    N_("{gap:.2f} nats above the next: × {times} · all but it {rest}"),
    N_("{gap:.1f} nats above the next: × {times}"),
)


def peak_line(chart: Chart, width: int) -> str:
    """How far the logit of a peak is above the next one, in at most `width` cells; empty where there is no peak.

    The ratio of two probabilities of a softmax is e to the difference of their logits.
    """
    first, *others = chart.candidates[:2]
    if not others or not first.known or not others[0].known or low(first.probability) < BULK:
        return ""
    gap, rest = first.logit - others[0].logit, percent(max(0.0, 1 - first.probability), 2)
    values = {"gap": gap, "times": times_text(gap), "rest": rest}
    lines = [_(form).format(**values) for form in FORMS]
    return next((line for line in lines if cell_len(line) <= width), "")


def times_text(gap: float) -> str:
    """How many times as likely a candidate is whose logit is `gap` nats higher, with two digits."""
    times = math.exp(min(gap, 700.0))
    return f"{float(f'{times:.2g}'):,.0f}" if times < 1e6 else f"{times:.0e}".replace("e+0", "e").replace("e+", "e")
