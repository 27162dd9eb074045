"""Reads the tokenizer of a model from its folder or GGUF file."""

import struct
from pathlib import Path

from core.errors import UserError
from core.formats.checked import CheckedValues
from core.language import _
from core.tokenizers.gguf import read_gguf
from core.tokenizers.huggingface import read_folder
from core.tokenizers.model_tokenizer import ModelTokenizer


def read_tokenizer(path: Path, name: str, metadata: CheckedValues, vocab_size: int) -> ModelTokenizer:
    """The tokenizer of the model in a folder or .gguf file, with its config.json or its GGUF metadata.

    Raises `UserError` for a tokenizer that is corrupt or of a kind that is not supported.
    """
    try:
        data = read_folder(path, metadata) if path.is_dir() else read_gguf(metadata)
        return ModelTokenizer(name, data, vocab_size)
    except UserError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, OSError, struct.error) as error:
        raise UserError(
            _("the tokenizer of {file} is corrupt ({error!r}); download it again"), file=path.name, error=error
        ) from error
