"""The stylesheet of the app. It parses each source once for a theme, and searches the rules of equal nodes once.

Textual's own parses all of them again whenever the theme is set, and then once more with the next kind of widget. It
searches the rules of every node and of each of its component classes whenever a class, the focus or the mouse changes.
"""

from collections.abc import Hashable, Iterable
from functools import lru_cache
from typing import Any

from textual.cache import LRUCache
from textual.css.model import RuleSet
from textual.css.styles import RulesMap
from textual.css.stylesheet import Stylesheet
from textual.dom import DOMNode

ParsedRules = LRUCache[tuple[Any, ...], list[RuleSet]]
SOURCES = 512
"""Sources whose rules are kept; each kind of widget with styles of its own is one."""
NODES = 4096
"""Nodes whose rules are kept; two nodes are equal where selectors cannot tell them apart."""


@lru_cache(maxsize=4)
def parsed_rules(variables: frozenset[tuple[str, str]]) -> ParsedRules:
    """The rules parsed so far with these variables, by source."""
    return LRUCache(SOURCES)


class Candidates:
    """The rules whose last selector fits a node, and what they ask of the node and of those above it."""

    def __init__(self, rules: Iterable[RuleSet]) -> None:
        selectors = [each for rule in rules for group in rule.selector_set for each in group.selectors]
        self.names = frozenset(each.name for each in selectors)
        """Of classes, ids and types."""
        self.pseudo_classes = frozenset(name for each in selectors for name in each.pseudo_classes)
        self.found: LRUCache[Hashable, RulesMap] = LRUCache(NODES)
        """The rules of nodes, by `key`. None is kept where they depend on the order of children or on descendants."""

    def key(self, node: DOMNode) -> Hashable:
        """What these rules ask of a node."""
        return tuple(
            (
                type(each),
                each._id if each._id in self.names else None,
                self.names.intersection(each._classes),
                tuple(each.has_pseudo_class(name) for name in self.pseudo_classes),
            )
            for each in node.css_path_nodes
        )


class Rules:
    """All rules of a stylesheet."""

    def __init__(self, rules: Iterable[RuleSet]) -> None:
        self.by_name: dict[str, list[RuleSet]] = {}
        """The rules that end with a name."""
        self.candidates: dict[frozenset[str], Candidates] = {}
        """By the names of a node that rules end with."""
        for rule in rules:
            for name in rule.selector_names:
                self.by_name.setdefault(name, []).append(rule)

    def candidates_for(self, node: DOMNode) -> Candidates:
        names = frozenset(self.by_name.keys() & node._selector_names)
        if (found := self.candidates.get(names)) is None:
            found = self.candidates[names] = Candidates({rule for name in names for rule in self.by_name[name]})
        return found


kept_rules = lru_cache(maxsize=64)(Rules)
"""The same for the same tuple of rules."""


class KeptStylesheet(Stylesheet):
    """A stylesheet that keeps its parsed rules for as long as the variables of the theme are the same."""

    def __init__(self, *, variables: dict[str, str]) -> None:
        super().__init__(variables=variables)
        self._parse_cache = parsed_rules(frozenset(variables.items()))
        self._kept = kept_rules(())

    def set_variables(self, variables: dict[str, str]) -> None:
        self._parse_cache = LRUCache(1)  # it is cleared
        super().set_variables(variables)
        self._parse_cache = parsed_rules(frozenset(variables.items()))

    def reparse(self) -> None:
        self.parse()

    @property
    def rules_map(self) -> dict[str, list[RuleSet]]:
        """The rules that end with a name."""
        return self._all_rules().by_name

    def _all_rules(self) -> Rules:
        if self._rules_map is None:  # after they were parsed
            self._kept = kept_rules(tuple(self.rules))
            self._rules_map = self._kept.by_name
        return self._kept

    def apply(self, node: DOMNode, *, animate: bool = False, cache: dict[Any, RulesMap] | None = None) -> None:
        """Search the rules of a node, unless they are known of an equal node, and give them to it."""
        candidates = self._all_rules().candidates_for(node)
        key = candidates.key(node)
        if known := candidates.found.get(key):
            node._has_hover_style = "hover" in candidates.pseudo_classes
            node._has_focus_within = node._has_order_style = node._has_odd_or_even = False
            self.replace_rules(node, known, animate=animate)
            self._process_component_classes(node)
            return
        found: dict[Any, RulesMap] = {}
        super().apply(node, animate=animate, cache=found)
        for rules in found.values():
            candidates.found[key] = rules
