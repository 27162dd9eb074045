"""Tokenizers by name: cl100k, bytes, and world, which is cl100k pruned to the tiny world."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from core.errors import UserError
from core.loading.description import read_metadata
from core.tokenizers import builtin, vocabulary
from core.tokenizers.tokenizer import Tokenizer
from core.tokenizers.vocabulary import ModelTokenizer
from core.world import tiny

TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "cl100k": builtin.cl100k,
    "bytes": builtin.single_bytes,
    "world": tiny.vocabulary,
}


def check_name(name: str) -> None:
    """Raise `UserError` where there is no tokenizer of that name; nothing is loaded."""
    if name not in TOKENIZERS:
        raise UserError(f"no tokenizer {name!r}; choose one of {', '.join(TOKENIZERS)}")


def load_tokenizer(name: str) -> Tokenizer:
    """The tokenizer called `name`, the same object on every call. Raises `UserError` for another name."""
    check_name(name)
    return TOKENIZERS[name]()


@cache
def load_model_tokenizer(path: Path, name: str) -> ModelTokenizer:
    """The tokenizer of the model in a folder or .gguf file, under a name; the same object on every call.

    Raises `UserError` for one that is damaged or of a kind not supported.
    """
    values, vocab_size = read_metadata(path)
    return vocabulary.read_tokenizer(path, name, values, vocab_size)
