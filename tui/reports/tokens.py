"""`tokenwalk tokens`: how a tokenizer splits a text."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from core.language import ngettext
from core.tokenizers.chat import Span
from core.tokenizers.tokenizer import Tokenizer
from tui.drawing.text import fit, label, one_line
from tui.reports.json_values import token_json


def tokens_json(tokenizer: Tokenizer, ids: Sequence[int], spans: Sequence[Span] = ()) -> dict[str, Any]:
    """The tokenizer's name, the ids, each token's text and bytes, and the roles of a conversation."""
    pieces = [token_json(id, tokenizer.piece(id)) | _original_id(tokenizer, id) for id in ids]
    roles = {"spans": [asdict(span) for span in spans]} if spans else {}
    return {"tokenizer": tokenizer.name, "ids": list(ids), "pieces": pieces, **roles}


def _original_id(tokenizer: Tokenizer, id: int) -> dict[str, Any]:
    """The token's id in cl100k, for a vocabulary that is a subset of cl100k."""
    return {"original_id": tokenizer.originals[id]} if tokenizer.originals else {}


def tokens_lines(tokenizer: Tokenizer, ids: Sequence[int], spans: Sequence[Span] = ()) -> list[str]:
    """One line per token: id, id in cl100k where it differs, text, role in a conversation, bytes in hex."""
    originals = [f"{tokenizer.originals[id]:>7}" if tokenizer.originals else "" for id in ids]
    roles = [f"{span.role[:10]:<10} " for span in spans for _ in range(span.start, span.end)] or [""] * len(ids)
    lines = [
        f"{id:>7}{original}  {fit(label(tokenizer.piece(id)), 24)} {role}{tokenizer.piece(id).hex(' ')}"
        for id, original, role in zip(ids, originals, roles, strict=True)
    ]
    return [
        *lines,
        ngettext(
            "{count:,} token of the tokenizer {name}", "{count:,} tokens of the tokenizer {name}", len(ids)
        ).format(count=len(ids), name=one_line(tokenizer.name)),
    ]
