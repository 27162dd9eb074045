"""A model's chat template."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ChatTemplate:
    """The program that turns messages into the text a model was trained on, as its files hold it."""

    source: str
    """Jinja2."""
    tokens: Mapping[str, str]
    """Texts of special tokens by the names that the template uses, such as `bos_token`."""
