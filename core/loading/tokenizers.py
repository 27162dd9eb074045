"""Tokenizers by name (cl100k; bytes; world: cl100k pruned to the tiny world) and by a model's files."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from core.errors import UserError
from core.language import _
from core.loading.description import read_metadata
from core.loading.files import Version, version
from core.tokenizers import builtin
from core.tokenizers.model_files import read_tokenizer
from core.tokenizers.model_tokenizer import ModelTokenizer
from core.tokenizers.tokenizer import Tokenizer
from core.world import tiny

TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "cl100k": builtin.cl100k,
    "bytes": builtin.single_bytes,
    "world": tiny.vocabulary,
}


def check_name(name: str) -> None:
    """Raise `UserError` for a name that is not in `TOKENIZERS`; loads nothing."""
    if name not in TOKENIZERS:
        raise UserError(
            _("there is no tokenizer {name!r}; choose one of {choices}"), name=name, choices=", ".join(TOKENIZERS)
        )


def load_tokenizer(name: str) -> Tokenizer:
    """The tokenizer called `name`, the same object on every call. Raises `UserError` for an unknown name."""
    check_name(name)
    return TOKENIZERS[name]()


def load_model_tokenizer(path: Path, name: str) -> ModelTokenizer:
    """The tokenizer of the model in a folder or .gguf file, called `name`; the same object until its files change.

    Raises `UserError` for a tokenizer that is corrupt or not supported.
    """
    return cached_tokenizer(path, name, version(path))


@lru_cache(maxsize=16)
def cached_tokenizer(path: Path, name: str, version: Version) -> ModelTokenizer:
    """`load_model_tokenizer` of the files that have this version."""
    metadata, vocab_size = read_metadata(path)
    return read_tokenizer(path, name, metadata, vocab_size)
