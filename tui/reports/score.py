"""Owns how a scored text is printed: JSON Lines for programs, sums and the worst tokens for people."""

import math

from core.evaluation.values import ScoredText, ScoredToken
from core.loading.info import ModelInfo
from tui.drawing.text import compact, fit, label, one_line
from tui.reports import general

WORST = 10
"""Tokens in the list of the worst."""


def json_lines(info: ModelInfo, scored: ScoredText) -> list[str]:
    """One object a token, the first of which has no score, and one for all."""
    first = {"event": "token", "position": 0, **general.token(scored.first_id, scored.first_piece)}
    unknown = ("context", "logit", "probability", "logprob", "surprisal_bits", "rank", "entropy_bits")
    found = [first | dict.fromkeys(unknown)]
    for token in scored.tokens:
        measured = {
            "context": token.context,
            "logit": token.score.logit,
            "probability": token.score.probability,
            "logprob": token.score.logprob,
            "surprisal_bits": token.score.surprisal_bits,
            "rank": token.score.rank,
            "entropy_bits": token.score.entropy_bits,
        }
        named = general.token(token.id, token.piece)
        found.append({"event": "token", "position": token.position, **named, **_finite(measured)})
    sums = {
        "bits": scored.bits,
        "bits_per_token": scored.bits_per_token,
        "bits_per_byte": scored.bits_per_byte,
        "perplexity": scored.perplexity,
    }
    summary = {
        "event": "summary",
        "model": info.name,
        "device": info.device,
        "dtype": info.dtype,
        "tokens": len(scored.tokens) + 1,
        "scored": len(scored.tokens),
        "bytes": scored.byte_count,
        **_finite(sums),
        "context_at_least": scored.min_context,
        "worst": [token.position for token in scored.worst(WORST)],
    }
    return [general.line(each) for each in (*found, summary)]


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    """JSON has no ∞: a token that a model holds for impossible has no logprob."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def lines(info: ModelInfo, scored: ScoredText) -> list[str]:
    """The sums and the worst tokens for a person."""
    perplexity = scored.perplexity
    shown = f"{perplexity:,.2f}" if perplexity < 1e6 else compact(perplexity)
    short = len(scored.tokens) <= info.context
    seen = "" if short else f", or from the last {scored.min_context:,} at least"
    return [
        f"perplexity {shown} · {scored.bits_per_token:.3f} bits a token · {scored.bits_per_byte:.3f} bits a byte",
        f"{len(scored.tokens):,} tokens, {scored.byte_count:,} bytes, without the first, which nothing predicts · "
        f"{one_line(info.name)} {info.dtype}",
        f"each predicted from all tokens before it{seen}",
        "",
        f"{'at':>8}  {'worst tokens':<24} {'bits':>7} {'p':>10} {'rank':>8} {'H':>7}",
        *(_line(token) for token in scored.worst(WORST)),
    ]


def _line(token: ScoredToken) -> str:
    score = token.score
    return (
        f"{token.position:>8,}  {fit(label(token.piece), 24)} {score.surprisal_bits:>7.2f} {score.probability:>10.2e} "
        f"{score.rank + 1:>8,} {score.entropy_bits:>7.2f}"
    )
