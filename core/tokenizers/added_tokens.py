"""Tokens that are found in a text before it is split and merged."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token that stands in a text as it is written, such as `<|im_start|>`."""

    id: int
    content: str
    special: bool
    """Whether it is found only where special tokens are asked for."""
    lstrip: bool = False
    """Whether it takes the white space on its left."""
    rstrip: bool = False
    """Whether it takes the white space on its right."""


class AddedTokenFinder:
    """Finds added tokens in a text; of those that begin at the same position, the longest."""

    def __init__(self, tokens: Iterable[AddedToken]) -> None:
        self._tokens = {each.content: each for each in tokens if each.content}
        patterns = [
            (r"\s*" if each.lstrip else "") + re.escape(each.content) + (r"\s*" if each.rstrip else "")
            for each in sorted(self._tokens.values(), key=lambda each: -len(each.content))
        ]
        self._pattern = re.compile(f"({'|'.join(patterns)})") if patterns else None

    def split(self, text: str) -> Iterator[str | AddedToken]:
        """The text as added tokens and the non-empty texts between them."""
        parts = self._pattern.split(text) if self._pattern else [text]
        for number, part in enumerate(parts):
            if number % 2:  # a match, since the pattern is one group
                yield self._tokens[part.strip() if part not in self._tokens else part]
            elif part:
                yield part
