"""The two attributes of `tiktoken.Encoding` that tiktoken does not publish but documents for extending an encoding.

Source: https://github.com/openai/tiktoken (README, "Extending tiktoken").
"""

from collections.abc import Mapping
from typing import Any

import tiktoken

from core.errors import UserError
from core.language import _


def merge_ranks(encoding: tiktoken.Encoding) -> Mapping[bytes, int]:
    """The rank of each token; the pair with the lowest rank merges first."""
    return _attribute(encoding, "_mergeable_ranks")


def split_pattern(encoding: tiktoken.Encoding) -> str:
    """The regular expression that splits a text before merging."""
    return _attribute(encoding, "_pat_str")


def _attribute(encoding: tiktoken.Encoding, name: str) -> Any:
    try:
        return getattr(encoding, name)
    except AttributeError as error:
        version = getattr(tiktoken, "__version__", _("of this installation"))
        raise UserError(
            _("tiktoken {version} has no {name}, which is needed here; install tiktoken 0.12"),
            version=version,
            name=name,
        ) from error
