"""Export of a walk as JSON Lines, CSV, Markdown or plain text.

Token text is untrusted: nothing in it acts as a formula, as markup or as a terminal command.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from core.generation.token import Token
from core.sampling.bounds import Bounds
from core.sessions.record import Record
from core.sessions.writer import sampler_values
from core.spreadsheet import csv_line, visible
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
    "known",
    "model",
    "device",
    "dtype",
)


def token_values(position: int, token: Token) -> dict[str, Any]:
    """The values of `COLUMNS` for a token of the walk; None where there is none. `rank` 1 is the likeliest token."""
    score, model = token.score, token.model
    scores = score and (score.logit, score.logprob, score.probability, score.surprisal_bits, score.entropy_bits)
    drawn_by = model and (model.name, model.device, model.dtype)
    values = (
        *(position, token.id, piece_text(token.piece), token.piece.hex(), token.origin),
        *(scores or (None,) * 5),
        *(score.rank + 1 if score else None, token.u, token.sampled_probability, token.redraw),
        score.known if score else None,
        *(drawn_by or (None,) * 3),
    )
    return dict(zip(COLUMNS, values, strict=True))


def json_lines(record: Record) -> Iterator[str]:
    """One JSON object for each token of the walk, with the settings it was drawn with."""
    for position, token in enumerate(record.path()):
        values = token_values(position, token)
        values = {key: _json_value(value) for key, value in values.items()}
        values["sampler"] = sampler_values(token.sampler) if token.sampler else None
        yield json.dumps(values, allow_nan=False) + "\n"


def _json_value(value: Any) -> Any:
    """A value without infinities, which JSON cannot hold; bounds are a list of both ends."""
    if isinstance(value, Bounds):
        return [_json_value(value.low), _json_value(value.high)]
    return None if isinstance(value, float) and math.isinf(value) else value


def comma_separated(record: Record) -> Iterator[str]:
    """One row for each token; no cell begins with what a spreadsheet takes for a formula."""
    for row in (COLUMNS, *(token_values(n, token).values() for n, token in enumerate(record.path()))):
        yield csv_line(row)


def markdown(record: Record) -> Iterator[str]:
    """A page with the text and a table of its tokens."""
    model, tokens = record.model, record.path()
    text = visible("".join(_decoded(tokens)), keep="\n")
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    yield f"# {_escaped(record.prompt[:80]) or 'A walk'}\n\n"
    yield f"{_escaped(f'{model.name}, {model.device}, {model.dtype}, {model.weights}')}\n\n"
    yield f"{fence}text\n{text}\n{fence}\n\n"
    yield "| # | token | id | came | probability | surprisal, bits | rank | u |\n"
    yield "|--:|:--|--:|:--|--:|--:|--:|--:|\n"
    for position, token in enumerate(tokens):
        score = token.score
        scores = (
            (f"{score.probability:.6g}", f"{score.surprisal_bits:.3f}", f"{score.rank + 1}") if score else ("",) * 3
        )
        u = "" if token.u is None else f"{token.u:.6f}"
        piece = _escaped(piece_text(token.piece)).replace(" ", "·")
        yield f"| {' | '.join((str(position), piece, str(token.id), token.origin, *scores, u))} |\n"


def _escaped(text: str) -> str:
    """Text with a backslash before every character that Markdown may interpret."""
    return re.sub(r"([\\`*_{}\[\]<>()#+\-.!|~&:@])", r"\\\1", visible(text))


def generated(tokens: Sequence[Token]) -> str:
    """The text after the prompt, without control characters, so that it can be pasted anywhere."""
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
"""By key: the name for people, the suffix of files, and the function that yields the text."""
