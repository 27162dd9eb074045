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
    single_word: bool = False
    """Whether no letter, digit or underscore may touch it."""


class AddedTokenFinder:
    """Finds added tokens in a text; of those that begin at the same position, the longest."""

    def __init__(self, tokens: Iterable[AddedToken]) -> None:
        self._tokens = [each for each in sorted(tokens, key=lambda each: -len(each.content)) if each.content]
        self._pattern = re.compile("|".join(map(_expression, self._tokens))) if self._tokens else None

    def split(self, text: str) -> Iterator[tuple[str, AddedToken | None]]:
        """The text in parts: an added token with the white space it takes, or the non-empty text between two."""
        at = 0
        for match in self._pattern.finditer(text) if self._pattern else ():
            if match.start() > at:
                yield text[at : match.start()], None
            yield match[0], self._tokens[match.lastindex - 1] if match.lastindex else None
            at = match.end()
        if at < len(text):
            yield text[at:], None


def _expression(token: AddedToken) -> str:
    """The group that matches the token."""
    text = re.escape(token.content)
    alone = rf"(?<!\w){text}(?!\w)" if token.single_word else text
    left, right = (r"\s*" if taken else "" for taken in (token.lstrip, token.rstrip))
    return f"({left}{alone}{right})"
