"""The stylesheet of the app. It parses each source once for a theme.

Textual's own parses all of them again whenever the theme is set, and then once more with the next kind of widget.
"""

from functools import lru_cache
from typing import Any

from textual.cache import LRUCache
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet

ParsedRules = LRUCache[tuple[Any, ...], list[RuleSet]]
SOURCES = 512
"""Sources whose rules are kept; each kind of widget with styles of its own is one."""


@lru_cache(maxsize=4)
def parsed_rules(variables: frozenset[tuple[str, str]]) -> ParsedRules:
    """The rules parsed so far with these variables, by source."""
    return LRUCache(SOURCES)


class KeptStylesheet(Stylesheet):
    """A stylesheet that keeps its parsed rules for as long as the variables of the theme are the same."""

    def __init__(self, *, variables: dict[str, str]) -> None:
        super().__init__(variables=variables)
        self._parse_cache = parsed_rules(frozenset(variables.items()))

    def set_variables(self, variables: dict[str, str]) -> None:
        self._parse_cache = LRUCache(1)  # it is cleared
        super().set_variables(variables)
        self._parse_cache = parsed_rules(frozenset(variables.items()))

    def reparse(self) -> None:
        self.parse()
