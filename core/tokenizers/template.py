"""A chat template as a model's files hold it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Template:
    """A model's chat template as its files hold it."""

    source: str
    """Jinja2."""
    tokens: Mapping[str, str]
    """The texts of special tokens by the names a template calls them, such as `bos_token`."""
