"""A notation for small probabilistic context-free grammars with variables, and their exact next-token probabilities.

A rule is a line: its name, `=`, and alternatives between bars. An alternative has an integer weight before it where
that is not 1; it is chosen with probability weight / sum of weights:

    gift  = 2 <a:name> gave <b:name-a> <thing> . | <a:name> thanked <b:name-a> .

`<rule>` expands to one alternative of the rule. `<a:rule>` also stores that alternative in variable `a`, and `<a>`
repeats it. `<b:rule-a>` excludes the alternative that `a` holds. A variable holds words only. It is known in the rest
of its own alternative, or until it is bound again. A `^` and a name after an item are a label, by which losses are
grouped. The space before a word belongs to it; `¶` is a line break.
"""

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from typing import NamedTuple

_REFERENCE = r"<(?:(?P<bind>\w+):)?(?P<rule>\w+)(?:-(?P<excluding>\w+))?>"
_ITEM = re.compile(rf"(?P<space>\s*)(?:{_REFERENCE}|(?P<word>[A-Za-z]+|[^\sA-Za-z<^|]+))(?:\^(?P<label>\w+))?")


class Item(NamedTuple):
    """One symbol of an alternative: a word, or a reference to a rule or a variable."""

    word: str = ""
    """The text; empty for a reference."""
    rule: str = ""
    """The rule or variable that is referred to; empty for a word."""
    bind: str = ""
    """The variable that stores the chosen alternative."""
    excluding: str = ""
    """The variable whose alternative is excluded; once that is known, the excluded text itself, after a space."""
    spaced: bool = False
    """Whether a space precedes it."""
    label: str = ""


Stack = tuple[Item | int, ...]
"""What remains of a derivation, the next symbol first: items, and the token ids of a word that has begun."""
Rules = dict[str, tuple[tuple[int, tuple[Item, ...]], ...]]
"""The alternatives of each rule, with their weights."""
Belief = frozenset[tuple[int, Fraction]]
"""A belief state: the probability of each stack given the tokens so far. Stacks are named by their numbers."""


def parse(text: str) -> Rules:
    """The rules of a grammar. A line that begins with a space continues the rule before it.

    Raises `ValueError` for text that is not in the notation, or refers to what is not defined.
    """
    right_sides: dict[str, str] = {}
    name = ""
    for line in filter(str.strip, text.splitlines()):
        if line[0].isspace() and name:
            right_sides[name] += line
        else:
            name, _, right_side = line.partition("=")
            if line[0].isspace() or not (name := name.strip()).isidentifier() or name in right_sides:
                raise ValueError(f"{line!r} begins no rule")
            right_sides[name] = right_side
    rules = {name: tuple(map(_alternative, right_side.split("|"))) for name, right_side in right_sides.items()}
    for alternatives in rules.values():
        for _, items in alternatives:
            _check(items, rules)
    return rules


def _alternative(text: str) -> tuple[int, tuple[Item, ...]]:
    """The weight and the items of one alternative."""
    weighted = re.match(r"\s*(\d+)\s", text)
    weight = int(weighted[1]) if weighted else 1
    symbols = text[weighted.end() :].strip() if weighted else text.strip()
    items: list[Item] = []
    position = 0
    while position < len(symbols):
        if (match := _ITEM.match(symbols, position)) is None:
            raise ValueError(f"{symbols[position:]!r} is no part of a rule")
        names = {key: match[key] or "" for key in ("rule", "bind", "excluding", "label")}
        word = (match["word"] or "").replace("¶", "\n")
        items.append(Item(word=word, spaced=bool(match["space"]), **names))
        position = match.end()
    if not (items and weight):
        raise ValueError(f"{text!r} is an alternative without items or with weight 0")
    return weight, tuple(items)


def _check(items: tuple[Item, ...], rules: Rules) -> None:
    """Raise `ValueError` for a reference to an unknown rule or variable, or a variable that cannot be bound."""
    bound: set[str] = set()
    for item in items:
        plain = not (item.bind or item.excluding)
        if item.rule and item.rule not in rules and not (plain and item.rule in bound):
            raise ValueError(f"there is no rule {item.rule!r}")
        if item.excluding and item.excluding not in bound:
            raise ValueError(f"no variable {item.excluding!r} is bound before <{item.rule}-{item.excluding}>")
        if item.bind:
            if item.bind in rules:
                raise ValueError(f"{item.bind!r} is a rule and cannot be a variable")
            if any(each.rule for _, alternative in rules[item.rule] for each in alternative):
                raise ValueError(f"{item.rule!r} does not consist of words alone and cannot be stored in a variable")
            bound.add(item.bind)


def terminals(rules: Rules, start: str) -> set[str]:
    """Every word that texts from rule `start` can contain, with the space before it where there is one."""
    spaced = {start: {False}}  # whether a space can precede what each rule expands to
    found: set[str] = set()
    todo = [start]
    while todo:
        name = todo.pop()
        for _, items in rules[name]:
            variables = {item.bind: item.rule for item in items}
            for index, item in enumerate(items):
                here = {item.spaced} if index else spaced[name]
                if item.word:
                    found.update(" " * space + item.word for space in here)
                elif not here <= spaced.setdefault(target := variables.get(item.rule, item.rule), set()):
                    spaced[target] |= here
                    todo.append(target)
    return found


class Emission(NamedTuple):
    """One token that a stack can produce next."""

    probability: Fraction
    token: int
    rest: Stack
    """The stack after it."""
    label: str


class Transition(NamedTuple):
    """One token that can follow a belief state."""

    probability: Fraction
    """Its true probability, given all tokens so far."""
    belief: Belief
    """The belief state after it."""
    label: str
    """The label of the item that it begins; empty without one."""


class Grammar:
    """The exact distribution of the next token in texts that begin with rule `start`, over the ids of `encode`.

    `encode` turns a word, with the space before it, into token ids. Probabilities are fractions.
    """

    def __init__(self, rules: Rules, start: str, encode: Callable[[str], list[int]]) -> None:
        self._rules, self._encode = rules, cache(encode)
        self._stacks: list[Stack] = []
        self._numbers: dict[Stack, int] = {}
        self._emissions: dict[Stack, tuple[Emission, ...]] = {}
        self._transitions: dict[Belief, dict[int, Transition]] = {}
        self.start: Belief = frozenset({(self._number((Item(rule=start),)), Fraction(1))})
        """The belief state at the beginning of a text."""

    def transitions(self, belief: Belief) -> dict[int, Transition]:
        """Every token that can follow, by its id. After a token that ends the text, the belief state is `start`."""
        if belief not in self._transitions:
            self._transitions[belief] = dict(sorted(self._compute_transitions(belief)))
        return self._transitions[belief]

    def _compute_transitions(self, belief: Belief) -> Iterator[tuple[int, Transition]]:
        """Bayes' rule: sum over the stacks of a belief state, then normalize for each token."""
        joint: dict[int, dict[int, Fraction]] = {}  # token → number of the stack after it → probability of both
        labels: dict[int, str] = {}
        for stack, probability in belief:
            for emission in self._emit(self._stacks[stack]):
                stacks = joint.setdefault(emission.token, {})
                number = self._number(emission.rest)
                stacks[number] = stacks.get(number, Fraction(0)) + probability * emission.probability
                labels[emission.token] = max(labels.get(emission.token, ""), emission.label)
        for token, stacks in joint.items():
            total = sum(stacks.values(), Fraction(0))
            ends = stacks.keys() == {self._number(())}
            assert ends or self._number(()) not in stacks, "a text must end with a token that nothing else ends with"
            after = self.start if ends else frozenset((number, each / total) for number, each in stacks.items())
            yield token, Transition(total, after, labels[token])

    def _number(self, stack: Stack) -> int:
        number = self._numbers.setdefault(stack, len(self._stacks))
        if number == len(self._stacks):
            self._stacks.append(stack)
        return number

    def _emit(self, stack: Stack) -> tuple[Emission, ...]:
        """Every token that `stack` can produce next."""
        if stack not in self._emissions:
            self._emissions[stack] = tuple(self._expand(stack[0], stack[1:]))
        return self._emissions[stack]

    def _expand(self, head: Item | int, rest: Stack) -> Iterator[Emission]:
        if isinstance(head, int):
            yield Emission(Fraction(1), head, rest, "")
        elif head.word:
            first, *more = self._encode(" " * head.spaced + head.word)
            yield Emission(Fraction(1), first, (*more, *rest), head.label)
        else:
            excluded = head.excluding
            alternatives = [each for each in self._rules[head.rule] if not excluded or _text(each[1]) != excluded]
            total = sum(weight for weight, _ in alternatives)
            for weight, items in alternatives:
                first_item = items[0]._replace(spaced=head.spaced, label=head.label or items[0].label)
                after = tuple(_substitute(rest, head.bind, items)) if head.bind else rest
                for emission in self._emit((first_item, *items[1:], *after)):
                    yield emission._replace(probability=emission.probability * Fraction(weight, total))


def _text(items: tuple[Item, ...]) -> str:
    """The words of an alternative, each after a space. The first space tells it from a variable's name."""
    return "".join(f" {item.word}" for item in items)


def _substitute(rest: Stack, variable: str, value: tuple[Item, ...]) -> Iterator[Item | int]:
    """`rest` with the value of a variable in place of each reference to it, up to where it is bound again."""
    holds = True
    for item in rest:
        if isinstance(item, int) or not holds or variable not in (item.rule, item.excluding):
            yield item
        elif item.excluding == variable:
            yield item._replace(excluding=_text(value))
        else:
            yield value[0]._replace(spaced=item.spaced, label=item.label)
            yield from value[1:]
        holds = holds and (isinstance(item, int) or item.bind != variable)
