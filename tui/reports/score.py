"""`tokenwalk score`: how well a model predicts a text."""

from collections.abc import Mapping
from typing import Any

from core.evaluation.values import ScoredText, ScoredToken
from core.language import N_, _
from core.loading.info import ModelInfo
from core.sampling.bounds import Bounded, low
from tui.drawing.text import compact, fit, label, one_line
from tui.reports.json_values import json_line, known_json, number_json, rank_json, token_json

WORST = 10
"""Tokens in the list of those with the highest surprisal."""

REWRITTEN = N_("the tokenizer normalizes this text: its tokens spell another one; bytes are those of the text as given")


def score_json(info: ModelInfo, scored: ScoredText) -> list[str]:
    """One line per token, the first of which has no score because nothing precedes it, and a summary line."""
    first = {"event": "token", "position": 0, **token_json(scored.first_id, scored.first_piece)}
    scores = ("context", "logit", "probability", "logprob", "surprisal_bits", "rank", "entropy_bits")
    tokens = [first | dict.fromkeys(scores)]
    for token in scored.tokens:
        values = {
            "context": token.context,
            "logit": token.score.logit,
            "probability": token.score.probability,
            "logprob": token.score.logprob,
            "surprisal_bits": token.score.surprisal_bits,
            "entropy_bits": token.score.entropy_bits,
        }
        named = token_json(token.id, token.piece)
        rank = {"rank": rank_json(token.score.rank), **known_json(token.score.known)}
        tokens.append({"event": "token", "position": token.position, **named, **_finite_values(values), **rank})
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
        "rewritten": scored.rewritten,
        **_finite_values(sums),
        "context_at_least": scored.min_context,
        "worst": [token.position for token in scored.worst(WORST)],
    }
    return [json_line(each) for each in (*tokens, summary)]


def _finite_values(values: Mapping[str, Bounded | None]) -> dict[str, Any]:
    """A token of probability 0 has no finite logprob."""
    return {name: number_json(value) for name, value in values.items()}


def score_lines(info: ModelInfo, scored: ScoredText) -> list[str]:
    """Perplexity, bits per token and per byte, and the tokens with the highest surprisal."""
    perplexity = scored.perplexity
    shown = f"{perplexity:,.2f}" if low(perplexity) < 1e6 else compact(low(perplexity))
    whole = len(scored.tokens) <= info.context
    window = "" if whole else _(", or from at least the last {min_context:,}").format(min_context=scored.min_context)
    return [
        _("perplexity {shown} · {bits_per_token:.3f} bits per token · {bits_per_byte:.3f} bits per byte").format(
            shown=shown, bits_per_token=scored.bits_per_token, bits_per_byte=scored.bits_per_byte
        ),
        _(
            "{model} {dtype} · {count:,} tokens, {bytes:,} bytes (the first token is not scored: nothing precedes it)"
        ).format(model=one_line(info.label), dtype=info.dtype, count=len(scored.tokens), bytes=scored.byte_count),
        _("each token is predicted from all tokens before it{window}").format(window=window),
        *([_(REWRITTEN)] if scored.rewritten else []),
        "",
        f"{_('at'):>8}  {_('highest surprisal'):<24} {_('bits'):>7} {'p':>10} {_('rank'):>8} {_('entropy'):>8}",
        *(_line(token) for token in scored.worst(WORST)),
    ]


def _line(token: ScoredToken) -> str:
    score = token.score
    return (
        f"{token.position:>8,}  {fit(label(token.piece), 24)} {score.surprisal_bits:>7.2f} {score.probability:>10.2e} "
        f"{score.rank + 1:>8,} {score.entropy_bits:>8.2f}"
    )
