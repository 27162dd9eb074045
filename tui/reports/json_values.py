"""Values that several commands print as JSON: one object per line, tokens, candidates, finite numbers."""

import json
import math
import sys
from collections.abc import Sequence
from typing import Any

from core.errors import Option, UserError
from core.language import _
from core.loading.info import ModelInfo
from core.sampling.bounds import Bounded, Bounds
from core.sampling.values import Candidate
from core.tokenizers.tokenizer import piece_text
from tui.drawing.text import is_inert


def json_line(value: dict[str, Any]) -> str:
    """One JSON object on one line; what a terminal executes, hides or cannot show is escaped as JSON escapes it."""
    utf8 = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    try:
        line = json.dumps(value, ensure_ascii=not utf8, allow_nan=False)
    except ValueError as error:
        raise UserError(
            _(
                "the answer has numbers that are not finite (NaN or infinity), which JSON cannot hold, because of the "
                "weights or of this {dtype}; choose another dtype"
            ),
            dtype=Option("dtype"),
        ) from error
    if line.isascii() and line.isprintable():
        return line
    return "".join(c if is_inert(c) else json.dumps(c)[1:-1] if c != "\x7f" else r"\u007f" for c in line)


def rank_json(rank: Bounded | None) -> Any:
    """A rank as all that is shown counts it: from 1, the likeliest token. `core` counts from 0."""
    return None if rank is None else number_json(rank + 1)


def number_json(value: Bounded | None) -> Any:
    """A number, a list of the two that it lies between, and null for what is infinite or NaN."""
    if isinstance(value, Bounds):
        return [finite(value.low), finite(value.high)]
    return finite(value)


def known_json(known: int | None) -> dict[str, Any]:
    """`known`, how many tokens of a distribution have a known probability; nothing where all have."""
    return {} if known is None else {"known": known}


def token_json(id: int, piece: bytes) -> dict[str, Any]:
    """A token: its id, its text (incomplete characters escaped) and its bytes in hex."""
    return {"id": id, "text": piece_text(piece), "bytes": piece.hex()}


def candidate_json(candidate: Candidate) -> dict[str, Any]:
    """A candidate: its logit, the model's probability and the probability it is sampled with.

    `true_probability` is added where the true distribution is known, which is the tiny world only.
    """
    values = {
        **token_json(candidate.id, candidate.piece),
        "logit": candidate.logit if candidate.known else [None, finite(candidate.logit)],
        "probability": number_json(candidate.share),
        "sampled_probability": number_json(candidate.sampled_probability),
    }
    return values if candidate.true is None else values | {"true_probability": candidate.true}


def finite(value: float | None) -> float | None:
    """`value`, or None where it is infinite or NaN, which JSON cannot hold."""
    return value if value is not None and math.isfinite(value) else None


def run_json(info: ModelInfo, ids: Sequence[int]) -> dict[str, Any]:
    """What the first line of a run says: the model and the prompt."""
    return {
        "event": "prefill",
        "model": info.name,
        **lora_json(info),
        "device": info.device,
        "dtype": info.dtype,
        "prompt_ids": list(ids),
        "vocab_size": info.vocab_size,
    }


def lora_json(info: ModelInfo) -> dict[str, Any]:
    """`lora`, the LoRA adapter of a model and its scale; nothing where it has none."""
    choice = info.choice
    return {"lora": {"path": choice.lora, "scale": choice.lora_scale}} if choice and choice.lora else {}
