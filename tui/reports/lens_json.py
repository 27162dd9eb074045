"""`tokenwalk lens --json`: the answer of any lens as values that JSON can hold."""

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from core.causal.question import Measured
from core.sampling.values import Candidate, Chart
from core.tokenizers.tokenizer import piece_text
from tui.reports.json_values import candidate_json, rank_json

if TYPE_CHECKING:
    from core.lenses.context import ContextTable

JSON_NAMES = {
    "BenchResult": {
        "first_token_seconds": "first_token",
        "prompt_tokens_per_second": "prompt_rate",
        "tokens_per_second": "rate",
        "weights_bytes": "weights",
        "bytes_per_token": "read",
        "bandwidth_bytes_per_second": "bandwidth",
        "peak_bytes": "peak",
    }
}
"""By class, fields that have another name in the JSON, which never changes its names."""


def measured_json(asked: Measured) -> dict[str, Any]:
    """A question at a position: its tokens as text and ids, and its value under the name of its measure."""
    target = asked.target
    values: dict[str, Any] = {"target": piece_text(asked.piece), "target_id": target.id}
    if target.against is None:
        return values | {target.scale: asked.value}
    return values | {"against": piece_text(asked.against), "against_id": target.against, "difference": asked.value}


def lens_json(name: str, answer: Any) -> dict[str, Any]:
    """The fields of an answer under their own names; tokens as text and bytes; a context table as its prefixes."""
    values: dict[str, Any] = _json_value(answer)
    if isinstance(getattr(answer, "asked", None), Measured):
        values = values.pop("asked") | values
    if name == "context":
        values["prefixes"] = _prefixes(answer, values.pop("rows"))
    if name == "attention":
        del values["pictures"]  # they are made for the screen
    if name == "device" and answer.speed:
        values["speed"]["compiled"] = answer.speed.implementation.startswith("compiled")
    return values


def _json_value(value: Any) -> Any:
    if isinstance(value, Candidate):
        return candidate_json(value)
    if isinstance(value, Measured):
        return measured_json(value)
    if isinstance(value, Chart):
        return {"entropy_bits": value.entropy_bits, "top": _json_value(value.candidates)}
    if isinstance(value, bytes):
        return piece_text(value)
    if isinstance(value, tuple):
        return [_json_value(each) for each in value]
    if is_dataclass(value) and not isinstance(value, type):
        json_names = JSON_NAMES.get(type(value).__name__, {})
        values = {json_names.get(field.name, field.name): getattr(value, field.name) for field in fields(value)}
        piece = values.pop("piece", None)
        token = {} if piece is None else {"text": piece_text(piece), "bytes": piece.hex()}
        for rank in {"rank", "target_rank"} & values.keys():
            values[rank] = rank_json(values[rank])
        return token | {key: _json_value(each) for key, each in values.items()}
    return value


def _prefixes(table: "ContextTable", rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with `text` as the whole prefix, as far as the table holds it, and `token` as its last token."""
    text = b""
    for row, values in zip(table.rows, rows, strict=True):
        text += row.piece
        values["token"], values["text"] = values["text"], piece_text(text)
    return rows
