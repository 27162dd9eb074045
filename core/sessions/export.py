"""Owns the formats a walk is handed on in: JSON Lines, CSV, Markdown, plain text. Whoever opens them obeys nothing."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from core.generation.token import Token
from core.sessions.record import Record
from core.tokenizers.tokenizer import Decoder, piece_text

COLUMNS = (
    "position",
    "id",
    "text",
    "bytes",
    "origin",
    "logit",
    "logprob",
    "probability",
    "surprisal_bits",
    "entropy_bits",
    "rank",
    "u",
    "sampled_probability",
    "redraw",
    "model",
    "device",
    "dtype",
)


def token_values(position: int, token: Token) -> dict[str, Any]:
    """All numbers of a token of the walk; None where there is none. `rank` 0 is the model's favourite."""
    score, model = token.score, token.model
    measured = score and (score.logit, score.logprob, score.probability, score.surprisal_bits, score.entropy_bits)
    made_by = model and (model.name, model.device, model.dtype)
    values = (
        *(position, token.id, piece_text(token.piece), token.piece.hex(), token.origin),
        *(measured or (None,) * 5),
        *(score.rank if score else None, token.u, token.sampled_probability, token.redraw),
        *(made_by or (None,) * 3),
    )
    return dict(zip(COLUMNS, values, strict=True))


def json_lines(record: Record) -> Iterator[str]:
    """One object a token of the walk, with the settings it was drawn with."""
    for position, token in enumerate(record.path()):
        values = token_values(position, token)
        values = {key: None if isinstance(v, float) and abs(v) == float("inf") else v for key, v in values.items()}
        values["sampler"] = asdict(token.sampler) if token.sampler else None
        yield json.dumps(values, allow_nan=False) + "\n"


def comma_separated(record: Record) -> Iterator[str]:
    """One row a token; no cell begins with what a spreadsheet would take for a formula."""
    for row in (COLUMNS, *(token_values(n, token).values() for n, token in enumerate(record.path()))):
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(map(_cell, row))
        yield line.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def markdown(record: Record) -> Iterator[str]:
    """A page to read: the text, and a table of its tokens."""
    about, tokens = record.model, record.path()
    text = visible("".join(_decoded(tokens)), keep="\n")
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    yield f"# {_escaped(record.prompt[:80]) or 'A walk'}\n\n"
    yield f"{_escaped(f'{about.name}, {about.device}, {about.dtype}, {about.weights}')}\n\n"
    yield f"{fence}text\n{text}\n{fence}\n\n"
    yield "| # | token | id | came | probability | surprisal, bits | rank | u |\n"
    yield "|--:|:--|--:|:--|--:|--:|--:|--:|\n"
    for position, token in enumerate(tokens):
        score = token.score
        measured = (
            (f"{score.probability:.6g}", f"{score.surprisal_bits:.3f}", f"{score.rank + 1}") if score else ("",) * 3
        )
        u = "" if token.u is None else f"{token.u:.6f}"
        piece = _escaped(piece_text(token.piece)).replace(" ", "·")
        yield f"| {' | '.join((str(position), piece, str(token.id), token.origin, *measured, u))} |\n"


def _escaped(text: str) -> str:
    """Text in which Markdown finds nothing to mark up."""
    return re.sub(r"([\\`*_{}\[\]<>()#+\-.!|~&:@])", r"\\\1", visible(text))


def visible(text: str, keep: str = "") -> str:
    """Text with what a terminal would obey, or nobody would see, as escapes; `keep` stays."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def generated(tokens: Sequence[Token]) -> str:
    """What came after the prompt, as plain text without control characters, to be pasted anywhere."""
    text = "".join(_decoded([token for token in tokens if token.origin != "prompt"]))
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", text)


def _decoded(tokens: Sequence[Token]) -> Iterator[str]:
    decoder = Decoder()
    for token in tokens:
        yield decoder.feed(token.piece)
    yield decoder.finish()


FORMATS: dict[str, tuple[str, str, Callable[[Record], Iterator[str]]]] = {
    "jsonl": ("JSON Lines", ".jsonl", json_lines),
    "csv": ("CSV", ".csv", comma_separated),
    "markdown": ("Markdown", ".md", markdown),
}
"""What each is called, how its files end, and what writes it."""
