"""Writes a saved walk as JSON, in a file that is replaced as a whole. Needs no torch."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from core.atomic import replacing
from core.causal.question import CausalQuestion
from core.generation.token import Token
from core.sampling.bounds import Bounded, Bounds
from core.sampling.sampler import Sampler
from core.sessions.patches import patch_values
from core.sessions.record import FORMAT, VERSION, WITHOUT_BOUNDS, Record


def write_record(path: Path, record: Record, complete: Callable[[str], None] | None = None) -> None:
    """Write a walk into a file, which is complete or absent at any time. Raises `UserError` if that fails.

    `complete` is called with the SHA-256 of the content, in hex, when all is written and just before it has the name.
    """
    digest = sha256()
    with replacing(path, private=True) as file:
        for line in lines(record):
            content = line.encode("utf-8", "backslashreplace")  # half a surrogate pair becomes its JSON escape
            digest.update(content)
            file.write(content)
        if complete:
            file.flush()
            complete(digest.hexdigest())


def lines(record: Record) -> Iterator[str]:
    """The text of the file, one line for each node, so that other threads may run in between."""
    models = list(dict.fromkeys([record.model, *(row.token.model for row in record.rows if row.token.model)]))
    samplers = list(dict.fromkeys(row.token.sampler for row in record.rows if row.token.sampler))
    model_index = {model: index for index, model in enumerate(models)}
    sampler_index = {sampler: index for index, sampler in enumerate(samplers)}
    pieces = {row.token.id: row.token.piece for row in record.rows}
    head = {
        "format": FORMAT,
        "version": _version(record),
        "written": record.written or datetime.now(UTC).isoformat(timespec="seconds"),
        "program": record.program or program(),
        "prompt": record.prompt,
        "models": [asdict(model) for model in models],
        "samplers": [sampler_values(sampler) for sampler in samplers],
        "model": 0,
        "sampler": sampler_values(record.sampler),
        "place": {"node": record.end, "cursor": record.cursor},
        "patches": [patch_values(patch) for patch in record.patches],
        **question_values(record.question),
        "pieces": {str(id): pieces[id].hex() for id in sorted(pieces)},
    }
    yield "{\n"
    for key, value in head.items():
        yield f"{_json(key)}: {_json(value)},\n"
    yield '"nodes": [\n'
    for number, row in enumerate(record.rows, start=1):
        node = {"node": number, "parent": row.parent, **token_values(row.token)}
        if row.token.sampler:
            node["sampler"] = sampler_index[row.token.sampler]
        if row.token.model:
            node["model"] = model_index[row.token.model]
        node |= {key: value for key in ("name", "folded", "latest") if (value := getattr(row, key))}
        if row.text is not None:
            node["text"] = row.text
        yield _json(node) + (",\n" if number < len(record.rows) else "\n")
    yield "]\n}\n"


def sampler_values(sampler: Sampler) -> dict[str, Any]:
    """The JSON object of a sampler."""
    return {"stages": str(sampler), "seed": sampler.seed}


def question_values(question: CausalQuestion) -> dict[str, Any]:
    """The JSON object of a question under its name; nothing for the default question."""
    return {} if question == CausalQuestion() else {"question": asdict(question)}


def token_values(token: Token) -> dict[str, Any]:
    """The JSON object of a token, without the indices of its sampler and model."""
    node: dict[str, Any] = {"id": token.id, "origin": token.origin}
    if token.score:
        node |= {
            "logit": _number(token.score.logit),
            "logprob": _number(token.score.logprob),
            "entropy_bits": _number(token.score.entropy_bits),
            "rank": _number(token.score.rank),
        }
        if token.score.known is not None:
            node["known"] = token.score.known
    if token.u is not None:
        node["u"] = token.u
    if token.sampled_probability is not None:
        node["sampled_probability"] = _number(token.sampled_probability)
    if token.role:
        node["role"] = token.role
    if token.redraw:
        node["redraw"] = token.redraw
    return node


_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def _number(value: Bounded) -> float | str | list[float | str]:
    """A number as JSON has it; -∞, which a logit may be, becomes the text `-inf`. Bounds become both their ends."""
    if isinstance(value, Bounds):
        return [_end(value.low), _end(value.high)]
    return _end(value)


def _end(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _version(record: Record) -> int:
    """The oldest version of the format that holds a walk: bounds came with the last one."""
    tokens = [row.token for row in record.rows]
    bounded = any(
        (token.score and token.score.known is not None) or isinstance(token.sampled_probability, Bounds)
        for token in tokens
    )
    return VERSION if bounded else WITHOUT_BOUNDS


def program() -> str:
    """This program and its version."""
    try:
        return f"tokenwalk {version('tokenwalk')}"
    except PackageNotFoundError:
        return "tokenwalk"
