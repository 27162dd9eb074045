"""The stylesheet of the app. It parses each source once for a theme, and searches the rules of equal nodes once.

Textual's own parses all of them again whenever the theme is set, and then once more with the next kind of widget. It
searches the rules of every node and of each of its component classes whenever a class, the focus or the mouse changes,
and sets them one by one where they are what they were.
"""

from collections.abc import Hashable, Iterable
from functools import lru_cache
from typing import Any, cast

from textual.cache import LRUCache
from textual.css.model import RuleSet
from textual.css.styles import RulesMap, Styles
from textual.css.stylesheet import Stylesheet
from textual.dom import DOMNode

ParsedRules = LRUCache[tuple[Any, ...], list[RuleSet]]
SOURCES = 512
"""Sources whose rules are kept; each kind of widget with styles of its own is one."""
NODES = 4096
"""Nodes whose rules are kept; two nodes are equal where selectors cannot tell them apart."""
OF_MANY = Stylesheet._EXCLUDE_PSEUDO_CLASSES_FROM_CACHE
"""Pseudo-classes that depend on the order of children or on descendants; rules that ask for them are not kept."""
Facts = tuple[type, frozenset[str]]
"""The type of a node, and its id, classes and pseudo-classes, as selectors write them."""


@lru_cache(maxsize=4)
def parsed_rules(variables: frozenset[tuple[str, str]]) -> ParsedRules:
    """The rules parsed so far with these variables, by source."""
    return LRUCache(SOURCES)


class Candidates:
    """The rules whose last selector fits a node, and what they ask of the node and of those above it."""

    def __init__(self, rules: Iterable[RuleSet]) -> None:
        selectors = [each for rule in rules for group in rule.selector_set for each in group.selectors]
        self.pseudo_classes = frozenset(name for each in selectors for name in each.pseudo_classes)
        names = [mark + each.name for each in selectors for mark in ("#", ".")]
        self.asked = frozenset([*names, *(f":{name}" for name in self.pseudo_classes)])
        """Ids, classes and pseudo-classes."""
        self.found: LRUCache[Hashable, dict[str, Any]] = LRUCache(NODES)
        """The rules of nodes, by `key`. None is kept where they depend on the order of children or on descendants."""

    def key(self, path: Iterable[Facts]) -> Hashable:
        """What these rules ask of a node and of those above it."""
        names = self.asked
        return tuple([(kind, names & states) for kind, states in path])


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
        self._facts: dict[DOMNode, Facts] | None = None
        """Of the nodes that were looked at, while many are updated."""

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

    def update_nodes(self, nodes: Iterable[DOMNode], animate: bool = False) -> None:
        """Update the styles of nodes, whose classes stay as they are meanwhile."""
        self._facts = {}
        try:
            super().update_nodes(nodes, animate=animate)
        finally:
            self._facts = None

    def apply(self, node: DOMNode, *, animate: bool = False, cache: dict[Any, RulesMap] | None = None) -> None:
        """Search the rules of a node, unless they are known of an equal node, and give them to it."""
        candidates = self._all_rules().candidates_for(node)
        key = candidates.key(self._path(node))
        if (known := candidates.found.get(key)) is not None:
            node._has_hover_style = "hover" in candidates.pseudo_classes
            node._has_focus_within = node._has_order_style = node._has_odd_or_even = False
            if _held(node.styles.base) != known:
                self.replace_rules(node, cast(RulesMap, known), animate=animate)
            elif not animate:
                node.notify_style_update()
            self._process_component_classes(node)
            return
        found: dict[Any, RulesMap] = {}
        super().apply(node, animate=animate, cache=found)
        if candidates.pseudo_classes.isdisjoint(OF_MANY):
            styles = Styles()
            for rules in found.values():
                for name, value in rules.items():
                    setattr(styles, name, value)
            candidates.found[key] = _held(styles)

    def _process_component_classes(self, node: DOMNode) -> None:
        """Give a node the styles of its component classes. They stay where no rule has changed."""
        if not all(self._has_styles(node, name) for name in node._get_component_classes()):
            super()._process_component_classes(node)

    def _has_styles(self, node: DOMNode, component: str) -> bool:
        """Whether the styles of a component class are known, and the node has them."""
        styles = node._component_styles.get(component)
        if styles is None or (part := styles.node) is None:
            return False
        candidates = self._all_rules().candidates_for(part)
        known = candidates.found.get(candidates.key(self._path(part)))
        return known is not None and _held(styles.base) == known

    def _path(self, node: DOMNode) -> list[Facts]:
        """The facts of a node and of those above it, from below."""
        facts: dict[DOMNode, Facts] = {} if self._facts is None else self._facts
        path: list[Facts] = []
        above: Any = node
        while isinstance(above, DOMNode):
            if above not in facts:
                facts[above] = _facts(above)
            path.append(facts[above])
            above = above._parent
        return path


def _held(styles: Styles) -> dict[str, Any]:
    """Rules from the stylesheet as styles hold them, such as `Style(bold=True)` for `"bold"`, to be compared."""
    rules: dict[str, Any] = {**styles.get_rules()}
    if layout := rules.get("layout"):
        rules["layout"] = layout.name  # each node has an object of its own
    return rules


def _facts(node: DOMNode) -> Facts:
    kinds: dict[str, Any] = node._PSEUDO_CLASSES
    states = [f":{name}" for name, holds in kinds.items() if name not in OF_MANY and holds(node)]
    return type(node), frozenset([f"#{node._id}", *[f".{name}" for name in node._classes], *states])
