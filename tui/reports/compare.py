"""Owns how two compared models are printed: JSON Lines for programs, columns for people."""

import math
from itertools import zip_longest
from typing import Any

from core.evaluation.values import ComparedPosition, ComparedText, Comparison, Divergence
from core.loading.info import ModelInfo
from core.sampling.values import Candidate, Chart
from core.tokenizers.tokenizer import piece_text
from tui.drawing.text import decimals_for, fit, label, one_line, percent
from tui.reports import general


def _divergence(found: Divergence | ComparedText) -> dict[str, float | None]:
    """JSON has no ∞."""
    values = {"kl_ab_bits": found.kl_ab_bits, "kl_ba_bits": found.kl_ba_bits, "js_bits": found.js_bits}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def next_json(a: tuple[ModelInfo, list[int]], b: tuple[ModelInfo, list[int]], found: Comparison) -> str:
    """The comparison at the prompt's end as one object."""

    def side(info: ModelInfo, ids: list[int], chart: Chart) -> dict[str, Any]:
        return {
            "model": info.name,
            "device": info.device,
            "dtype": info.dtype,
            "prompt_ids": ids,
            "entropy_bits": chart.entropy_bits,
            "top": [general.candidate(each) for each in chart.candidates],
            "others": {"count": chart.others_count, "probability": chart.others_probability},
        }

    return general.line(
        {
            "event": "next",
            "by": found.divergence.over,
            **_divergence(found.divergence),
            "agree": found.agree,
            "rank_in_a": found.rank_in_a,
            "rank_in_b": found.rank_in_b,
            "a": side(*a, found.chart_a),
            "b": side(*b, found.chart_b),
        }
    )


def next_lines(a: ModelInfo, b: ModelInfo, found: Comparison) -> list[str]:
    """Two columns of candidates and what tells them apart."""
    names = [f"{one_line(info.name)} {info.dtype} {info.device}" for info in (a, b)]
    columns = zip_longest(_column(found.chart_a), _column(found.chart_b), fillvalue=" " * 30)
    others = f"      {_others(found.chart_a)}  {_others(found.chart_b)}"
    by = "over tokens" if found.divergence.over == "token" else "over the next byte: their tokens differ"
    return [
        f"{'#':>4}  {fit(f'A {names[0]}', 30)}  {fit(f'B {names[1]}', 30)}",
        *(f"{rank:>4}  {left}  {right}".rstrip() for rank, (left, right) in enumerate(columns, start=1)),
        others,
        f"      H {found.chart_a.entropy_bits:<28.3f}  H {found.chart_b.entropy_bits:.3f}",
        f"      KL(A‖B) {_bits(found.divergence.kl_ab_bits)} · KL(B‖A) {_bits(found.divergence.kl_ba_bits)} · "
        f"JS {_bits(found.divergence.js_bits)} bits, {by}",
        f"      {'the same favourite' if found.agree else 'other favourites'}: "
        f"A's is {_place(found.rank_in_b)} in B, B's is {_place(found.rank_in_a)} in A",
    ]


def _column(chart: Chart) -> list[str]:
    decimals = decimals_for(chart.candidates[0].probability)

    def cell(candidate: Candidate) -> str:
        return f"{fit(label(candidate.piece), 20)}{percent(candidate.probability, decimals):>10}"

    return [cell(candidate) for candidate in chart.candidates]


def _others(chart: Chart) -> str:
    return f"{fit(f'others {chart.others_count:,}', 20)}{percent(chart.others_probability, 2):>10}"


def _bits(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "∞"


def _place(rank: int | None) -> str:
    return "no token" if rank is None else f"number {rank + 1:,}"


def along_json(compared: ComparedText) -> list[str]:
    """One object a place, and one for all."""

    def place(found: ComparedPosition) -> dict[str, Any]:
        return {
            "event": "place",
            "byte": found.boundary.byte_offset,
            "tokens_a": found.boundary.tokens_a,
            "tokens_b": found.boundary.tokens_b,
            **_divergence(found.divergence),
            "agree": found.agree,
            "best_a": piece_text(found.best_a),
            "best_b": piece_text(found.best_b),
        }

    summary = {
        "event": "summary",
        "by": compared.over,
        "places": len(compared.positions),
        **_divergence(compared),
        "agreement": compared.agreement,
        "bytes": compared.text_bytes,
        "shared_bytes": compared.shared_bytes,
        "context_at_least_a": compared.min_context_a,
        "context_at_least_b": compared.min_context_b,
    }
    return [general.line(each) for each in (*map(place, compared.positions), summary)]


def along_lines(compared: ComparedText) -> list[str]:
    """A line a place, and the means."""
    lines = [f"{'byte':>8} {'KL(A‖B)':>9} {'KL(B‖A)':>9} {'JS':>7}    {fit('A says', 20)} B says"]
    for place in compared.positions:
        found = place.divergence
        lines.append(
            f"{place.boundary.byte_offset:>8,} "
            f"{_bits(found.kl_ab_bits):>9} {_bits(found.kl_ba_bits):>9} {found.js_bits:>7.4f}  "
            f"{'=' if place.agree else '≠'} {fit(label(place.best_a), 20)} {label(place.best_b)}"
        )
    lines.append(
        f"{'mean':>8} {_bits(compared.kl_ab_bits):>9} {_bits(compared.kl_ba_bits):>9} {compared.js_bits:>7.4f}    "
        f"the same favourite at {100 * compared.agreement:.1f}% of {len(compared.positions):,} places"
    )
    if compared.shared_bytes < compared.text_bytes:
        lines.append(f"the tokenizers spell the text differently after byte {compared.shared_bytes:,}; it ends there")
    return [*lines, ""]
