"""`tokenwalk tokens`: how a tokenizer splits a text."""

from collections.abc import Sequence
from typing import Any

from core.tokenizers.tokenizer import Tokenizer
from tui.drawing.text import fit, label
from tui.reports.json_values import token_json


def tokens_json(tokenizer: Tokenizer, ids: Sequence[int]) -> dict[str, Any]:
    """The tokenizer's name, the ids, and each token's text and bytes."""
    pieces = [token_json(id, tokenizer.piece(id)) | _original_id(tokenizer, id) for id in ids]
    return {"tokenizer": tokenizer.name, "ids": list(ids), "pieces": pieces}


def _original_id(tokenizer: Tokenizer, id: int) -> dict[str, Any]:
    """The token's id in cl100k, for a vocabulary that is a subset of cl100k."""
    return {"original_id": tokenizer.originals[id]} if tokenizer.originals else {}


def tokens_lines(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """One line per token: id, id in cl100k where it differs, text, bytes in hex."""
    originals = [f"{tokenizer.originals[id]:>7}" if tokenizer.originals else "" for id in ids]
    lines = [
        f"{id:>7}{original}  {fit(label(tokenizer.piece(id)), 24)} {tokenizer.piece(id).hex(' ')}"
        for id, original in zip(ids, originals, strict=True)
    ]
    return [*lines, f"{len(ids):,} token{'' if len(ids) == 1 else 's'} of the tokenizer {tokenizer.name}"]
