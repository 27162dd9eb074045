"""`tokenwalk next`: the next-token distribution."""

from collections.abc import Sequence
from typing import Any

from core.language import _
from core.loading.info import ModelInfo
from core.sampling.bounds import Bounded
from core.sampling.values import Chart
from tui.drawing.text import decimals_for, fit, label, percent
from tui.reports.json_values import candidate_json, number_json


def next_json(info: ModelInfo, ids: Sequence[int], chart: Chart, mass90: Bounded) -> dict[str, Any]:
    """The distribution; `mass90` is how many tokens hold 90 % of the probability."""
    return {
        "model": info.name,
        "prompt_ids": list(ids),
        "known": chart.vocab_size if chart.known is None else chart.known,
        "entropy_bits": number_json(chart.entropy_bits),
        "effective": number_json(chart.effective),
        "mass90": number_json(mass90),
        "top": [candidate_json(each) for each in chart.candidates],
        "others": {"count": chart.others_count, "probability": chart.others_probability},
    }


def next_lines(chart: Chart, mass90: Bounded) -> list[str]:
    """The distribution as a table, and its entropy below it."""
    decimals = decimals_for(chart.candidates[0].probability)
    lines = [f"{'#':>4}  {'token':<20} {'id':>7} {'p':>10} {'ln p' if chart.from_logprobs else 'logit':>8}"]
    lines += [
        f"{c.rank + 1:>4}  {fit(label(c.piece), 20)} {c.id:>7} {percent(c.probability, decimals):>10} {c.logit:>8.3f}"
        for c in chart.candidates
    ]
    lines.append(f"      {f'others {chart.others_count:,}':<28} {percent(chart.others_probability, decimals):>10}")
    lines.append(
        _(
            "      entropy {entropy:.3f} bits, that of {effective:,.1f} equally likely tokens; tokens that hold 90% "
            "of the probability: {mass90:,}"
        ).format(entropy=chart.entropy_bits, effective=chart.effective, mass90=mass90)
    )
    if chart.known is not None:
        lines.append(
            _("      known: the {known:,} likeliest of {vocab_size:,} tokens").format(
                known=chart.known, vocab_size=chart.vocab_size
            )
        )
    return lines
