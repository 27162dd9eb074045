"""`tokenwalk generate --json`: the lines of a generation."""

from collections.abc import Sequence
from typing import Any

from core.loading.info import ModelInfo
from core.sampling.values import Candidate, Draw
from tui.reports.json_values import candidate_json, known_json, number_json, rank_json, run_json, token_json


def prefill_json(info: ModelInfo, ids: Sequence[int], seconds: float) -> dict[str, Any]:
    """The first line of a generation; `seconds` is the time of the prefill."""
    return {**run_json(info, ids), "seconds": seconds}


def step_json(
    sample: int, position: int, drawn: Draw, piece: bytes, top: Sequence[Candidate], seconds: float
) -> dict[str, Any]:
    """One drawn token and the likeliest candidates it was drawn among; `seconds` is the time of the step."""
    return {
        "event": "step",
        "sample": sample,
        "position": position,
        **token_json(drawn.id, piece),
        "logit": number_json(drawn.score.logit),
        "probability": number_json(drawn.score.probability),
        "logprob": number_json(drawn.score.logprob),
        "sampled_probability": number_json(drawn.sampled_probability),
        "entropy_bits": number_json(drawn.score.entropy_bits),
        **known_json(drawn.score.known),
        "rank": rank_json(drawn.score.rank),
        "u": drawn.u,
        "top": [candidate_json(each) for each in top],
        "seconds": seconds,
    }


def done_json(texts: Sequence[str], tokens: int, seconds: float, reasons: Sequence[str]) -> dict[str, Any]:
    """The last line of a generation; `seconds` is the time after the prefill.

    `reasons` holds one reason for all samples, or one per sample.
    """
    return {
        "event": "done",
        "text": texts[0] if len(texts) == 1 else list(texts),
        "tokens": tokens,
        "tokens_per_second": tokens / seconds if seconds > 0 and tokens else None,
        "reason": reasons[0] if len(reasons) == 1 else list(reasons),
    }
