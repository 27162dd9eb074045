"""`tokenwalk compare`: how the next-token distributions of two models differ."""

import math
from itertools import zip_longest
from typing import Any

from core.evaluation.values import ComparedPosition, ComparedText, Comparison, Divergence
from core.language import _
from core.loading.info import ModelInfo
from core.sampling.bounds import Bounded, exact, low
from core.sampling.values import Candidate, Chart
from core.tokenizers.tokenizer import piece_text
from tui.drawing.text import decimals_for, ending, fit, label, one_line, percent
from tui.reports.json_values import candidate_json, json_line, lora_json, number_json, rank_json


def _divergence_json(found: Divergence | ComparedText) -> dict[str, Any]:
    """The divergences; one that is infinite is None, and one that is not known a list of its bounds."""
    return {
        "kl_ab_bits": number_json(found.kl_ab_bits),
        "kl_ba_bits": number_json(found.kl_ba_bits),
        "js_bits": number_json(found.js_bits),
    }


def comparison_json(a: tuple[ModelInfo, list[int]], b: tuple[ModelInfo, list[int]], found: Comparison) -> str:
    """The comparison after the prompt as one line; `a` and `b` are a model and the ids of the prompt in it."""

    def side(info: ModelInfo, ids: list[int], chart: Chart) -> dict[str, Any]:
        return {
            "model": info.name,
            **lora_json(info),
            "device": info.device,
            "dtype": info.dtype,
            "prompt_ids": ids,
            "entropy_bits": chart.entropy_bits,
            "top": [candidate_json(each) for each in chart.candidates],
            "others": {"count": chart.others_count, "probability": chart.others_probability},
        }

    return json_line(
        {
            "event": "next",
            "by": found.divergence.over,
            **_divergence_json(found.divergence),
            "agree": found.agree,
            "rank_in_a": rank_json(found.rank_in_a),
            "rank_in_b": rank_json(found.rank_in_b),
            "a": side(*a, found.chart_a),
            "b": side(*b, found.chart_b),
        }
    )


def comparison_lines(a: ModelInfo, b: ModelInfo, found: Comparison) -> list[str]:
    """The candidates of both models side by side, entropies, divergences and ranks."""
    names = [ending(one_line(f"{info.label} {info.dtype} {info.device}"), 28) for info in (a, b)]
    columns = zip_longest(_column(found.chart_a), _column(found.chart_b), fillvalue=" " * 30)
    others = f"      {_others(found.chart_a)}  {_others(found.chart_b)}"
    return [
        f"{'#':>4}  {fit(f'A {names[0]}', 30)}  {fit(f'B {names[1]}', 30)}",
        *(f"{rank:>4}  {left}  {right}".rstrip() for rank, (left, right) in enumerate(columns, start=1)),
        others,
        f"      {_entropy(found.chart_a):<30}  {_entropy(found.chart_b)}",
        *(f"      {line}" for line in divergence_lines(found)),
    ]


def divergence_lines(found: Comparison) -> list[str]:
    """The divergences, and where the likeliest token of one model stands in the other."""
    unit = (
        _("over tokens")
        if found.divergence.over == "token"
        else _("over the next byte, because their tokenizers have different tokens")
    )
    return [
        _("KL(A‖B) {ab} · KL(B‖A) {ba} · JS {js} bits, {unit}").format(
            ab=_bits(found.divergence.kl_ab_bits),
            ba=_bits(found.divergence.kl_ba_bits),
            js=_bits(found.divergence.js_bits),
            unit=unit,
        ),
        (
            _("the same likeliest token: that of A has {in_b} in B, that of B has {in_a} in A")
            if found.agree
            else _("different likeliest tokens: that of A has {in_b} in B, that of B has {in_a} in A")
        ).format(in_b=_rank(found.rank_in_b), in_a=_rank(found.rank_in_a)),
    ]


def _column(chart: Chart) -> list[str]:
    decimals = decimals_for(chart.candidates[0].probability)

    def cell(candidate: Candidate) -> str:
        return f"{fit(label(candidate.piece), 20)}{percent(candidate.probability, decimals):>10}"

    return [cell(candidate) for candidate in chart.candidates]


def _others(chart: Chart) -> str:
    return f"{fit(f'others {chart.others_count:,}', 20)}{percent(chart.others_probability, 2):>10}"


def _entropy(chart: Chart) -> str:
    return _("entropy {bits:.3f} bits").format(bits=chart.entropy_bits)


def _bits(value: Bounded) -> str:
    """Four decimals; of a value that is not known both bounds, or the finite one."""
    return "∞" if low(value) == math.inf else f"{value:.4f}"


def _rank(rank: Bounded | None) -> str:
    return _("no token") if rank is None else _("rank {rank:,}").format(rank=rank + 1)


def along_json(compared: ComparedText) -> list[str]:
    """One line per position of the text, and a summary line."""

    def position(found: ComparedPosition) -> dict[str, Any]:
        return {
            "event": "place",
            "byte": found.boundary.byte_offset,
            "tokens_a": found.boundary.tokens_a,
            "tokens_b": found.boundary.tokens_b,
            **_divergence_json(found.divergence),
            "agree": found.agree,
            "best_a": piece_text(found.best_a),
            "best_b": piece_text(found.best_b),
        }

    summary = {
        "event": "summary",
        "by": compared.over,
        "places": len(compared.positions),
        **_divergence_json(compared),
        "agreement": compared.agreement,
        "bytes": compared.text_bytes,
        "shared_bytes": compared.shared_bytes,
        "context_at_least_a": compared.min_context_a,
        "context_at_least_b": compared.min_context_b,
    }
    return [json_line(each) for each in (*map(position, compared.positions), summary)]


def along_lines(compared: ComparedText) -> list[str]:
    """One line per position of the text, and the means."""
    bounded = not all(exact(found.divergence.js_bits) for found in compared.positions)
    wide, narrow = (15, 15) if bounded else (9, 7)
    lines = [
        f"{_('byte'):>8} {'KL(A‖B)':>{wide}} {'KL(B‖A)':>{wide}} {'JS':>{narrow}}    {fit(_('likeliest in A'), 20)} "
        + _("likeliest in B")
    ]
    for found in compared.positions:
        divergence = found.divergence
        lines.append(
            f"{found.boundary.byte_offset:>8,} "
            f"{_bits(divergence.kl_ab_bits):>{wide}} {_bits(divergence.kl_ba_bits):>{wide}} "
            f"{_bits(divergence.js_bits):>{narrow}}  "
            f"{'=' if found.agree else '≠'} {fit(label(found.best_a), 20)} {label(found.best_b)}"
        )
    lines.append(
        f"{_('mean'):>8} {_bits(compared.kl_ab_bits):>{wide}} {_bits(compared.kl_ba_bits):>{wide}} "
        f"{_bits(compared.js_bits):>{narrow}}    "
        + _("bits; the same likeliest token at {share:.1f}% of {count:,} positions").format(
            share=100 * compared.agreement, count=len(compared.positions)
        )
    )
    if compared.shared_bytes < compared.text_bytes:
        lines.append(
            _("compared up to byte {count:,}: after it the tokens of the two models spell different texts").format(
                count=compared.shared_bytes
            )
        )
    return [*lines, ""]
