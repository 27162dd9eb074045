"""Owns the notation of small probabilistic grammars, and the machine that knows their true next-token distribution.

A rule is a line: its name, `=`, and alternatives between bars, each with a whole weight before it where that is not 1:

    gift  = 2 <a:name> gave <b:name-a> <thing> . | <a:name> thanked <b:name-a> .

`<rule>` stands for one of a rule's alternatives. `<a:rule>` also remembers which, for `<a>` to say it again; `-a`
leaves out what `a` was. A name means what it last said in the same alternative, and what it said is words. A `^` and a
word after an item label the place, for measuring. A word keeps the space before it, `¶` is the end of a line.
"""

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from typing import NamedTuple

_REFERENCE = r"<(?:(?P<bind>\w+):)?(?P<rule>\w+)(?:-(?P<but>\w+))?>"
_ITEM = re.compile(rf"(?P<space>\s*)(?:{_REFERENCE}|(?P<word>[A-Za-z]+|[^\sA-Za-z<^|]+))(?:\^(?P<label>\w+))?")


class Item(NamedTuple):
    """A word, or a reference to a rule or to what one said."""

    word: str = ""
    """What to say; empty for a reference."""
    rule: str = ""
    bind: str = ""
    but: str = ""
    spaced: bool = False
    """Whether a space stands before it."""
    label: str = ""


Stack = tuple[Item | int, ...]
"""What is still to be said: items, and the ids of a word that has begun."""
Rules = dict[str, tuple[tuple[int, tuple[Item, ...]], ...]]
"""Of each rule its alternatives with their weights."""
Belief = frozenset[tuple[int, Fraction]]
"""The ways on that fit what was said, by their numbers, with their shares."""


def parse(text: str) -> Rules:
    """The rules of a grammar; a line that begins with a space goes on with the rule before. Raises `ValueError`."""
    rules: dict[str, str] = {}
    name = ""
    for line in filter(str.strip, text.splitlines()):
        if line[0].isspace() and name:
            rules[name] += line
        else:
            name, _, rest = line.partition("=")
            if line[0].isspace() or not (name := name.strip()).isidentifier() or name in rules:
                raise ValueError(f"{line!r} begins no rule")
            rules[name] = rest
    parsed = {name: tuple(_alternative(part) for part in rest.split("|")) for name, rest in rules.items()}
    for alternatives in parsed.values():
        for _, items in alternatives:
            _check(items, parsed)
    return parsed


def _alternative(text: str) -> tuple[int, tuple[Item, ...]]:
    weighted = re.match(r"\s*(\d+)\s", text)
    rest = text[weighted.end() :].strip() if weighted else text.strip()
    items: list[Item] = []
    at = 0
    while at < len(rest):
        if (found := _ITEM.match(rest, at)) is None:
            raise ValueError(f"{rest[at:]!r} is no part of a rule")
        given = {key: found[key] or "" for key in ("rule", "bind", "but", "label")}
        word = (found["word"] or "").replace("¶", "\n")
        items.append(Item(word=word, spaced=bool(found["space"]), **given))
        at = found.end()
    weight = int(weighted[1]) if weighted else 1
    if not (items and weight):
        raise ValueError(f"{text!r} says nothing")
    return weight, tuple(items)


def _check(items: tuple[Item, ...], rules: Rules) -> None:
    """Raise `ValueError` for a reference to what there is not, or a name that cannot be given."""
    given: set[str] = set()
    for item in items:
        plain = not (item.bind or item.but)
        if item.rule and item.rule not in rules and not (plain and item.rule in given):
            raise ValueError(f"there is no rule {item.rule!r}")
        if item.but and item.but not in given:
            raise ValueError(f"nothing is called {item.but!r} before <{item.rule}-{item.but}>")
        if item.bind:
            if item.bind in rules:
                raise ValueError(f"{item.bind!r} is a rule and cannot be a name")
            if any(each.rule for _, alternative in rules[item.rule] for each in alternative):
                raise ValueError(f"{item.rule!r} does not say words alone and cannot be remembered")
            given.add(item.bind)


def words(rules: Rules, start: str) -> set[str]:
    """Every word that can be said, with the space before it where one stands there."""
    spaced = {start: {False}}
    said: set[str] = set()
    todo = [start]
    while todo:
        name = todo.pop()
        for _, items in rules[name]:
            bound = {item.bind: item.rule for item in items}
            for at, item in enumerate(items):
                here = {item.spaced} if at else spaced[name]
                if item.word:
                    said.update(" " * space + item.word for space in here)
                elif not here <= spaced.setdefault(target := bound.get(item.rule, item.rule), set()):
                    spaced[target] |= here
                    todo.append(target)
    return said


class Emission(NamedTuple):
    """One token that may come, and what is then still to be said."""

    share: Fraction
    token: int
    rest: Stack
    label: str


class Ahead(NamedTuple):
    """One token that may come next, in the light of all that was said."""

    share: Fraction
    """Its true probability."""
    belief: Belief
    """What is believed once it came."""
    label: str
    """Of the place, if it has one."""


class Grammar:
    """Rules over the tokens that `encode` makes of a word with the space before it; texts begin with rule `start`."""

    def __init__(self, rules: Rules, start: str, encode: Callable[[str], list[int]]) -> None:
        self._rules, self._encode = rules, cache(encode)
        self._stacks: list[Stack] = []
        self._numbers: dict[Stack, int] = {}
        self._emissions: dict[Stack, tuple[Emission, ...]] = {}
        self._aheads: dict[Belief, dict[int, Ahead]] = {}
        self.start: Belief = frozenset({(self._number((Item(rule=start),)), Fraction(1))})
        """What is believed where a text begins."""

    def ahead(self, belief: Belief) -> dict[int, Ahead]:
        """Every token that may come, by its id; where one ends the text, the next text begins."""
        if belief not in self._aheads:
            self._aheads[belief] = dict(sorted(self._look(belief)))
        return self._aheads[belief]

    def _look(self, belief: Belief) -> Iterator[tuple[int, Ahead]]:
        ways: dict[int, dict[int, Fraction]] = {}
        labels: dict[int, str] = {}
        for stack, share in belief:
            for emission in self._emits(self._stacks[stack]):
                way = ways.setdefault(emission.token, {})
                number = self._number(emission.rest)
                way[number] = way.get(number, Fraction(0)) + share * emission.share
                labels[emission.token] = max(labels.get(emission.token, ""), emission.label)
        for token, way in ways.items():
            total = sum(way.values(), Fraction(0))
            ends = way.keys() == {self._number(())}
            assert ends or self._number(()) not in way, "a text must end with a token that nothing else ends with"
            after = self.start if ends else frozenset((number, each / total) for number, each in way.items())
            yield token, Ahead(total, after, labels[token])

    def _number(self, stack: Stack) -> int:
        number = self._numbers.setdefault(stack, len(self._stacks))
        if number == len(self._stacks):
            self._stacks.append(stack)
        return number

    def _emits(self, stack: Stack) -> tuple[Emission, ...]:
        """Every token that may be said first of `stack`."""
        if stack not in self._emissions:
            self._emissions[stack] = tuple(self._emit(stack[0], stack[1:]))
        return self._emissions[stack]

    def _emit(self, head: Item | int, rest: Stack) -> Iterator[Emission]:
        if isinstance(head, int):
            yield Emission(Fraction(1), head, rest, "")
        elif head.word:
            first, *more = self._encode(" " * head.spaced + head.word)
            yield Emission(Fraction(1), first, (*more, *rest), head.label)
        else:
            options = [each for each in self._rules[head.rule] if not head.but or _said(each[1]) != head.but]
            total = sum(weight for weight, _ in options)
            for weight, items in options:
                begin = items[0]._replace(spaced=head.spaced, label=head.label or items[0].label)
                after = tuple(_told(rest, head.bind, items)) if head.bind else rest
                for emission in self._emits((begin, *items[1:], *after)):
                    yield emission._replace(share=emission.share * Fraction(weight, total))


def _said(items: tuple[Item, ...]) -> str:
    """What an alternative says; it begins with a space, as no name does."""
    return "".join(f" {item.word}" for item in items)


def _told(rest: Stack, name: str, said: tuple[Item, ...]) -> Iterator[Item | int]:
    """What is still to be said once it is known what `name` said, which holds until the name is given anew."""
    known = True
    for item in rest:
        if isinstance(item, int) or not known or name not in (item.rule, item.but):
            yield item
        elif item.but == name:
            yield item._replace(but=_said(said))
        else:
            yield said[0]._replace(spaced=item.spaced, label=item.label)
            yield from said[1:]
        known = known and (isinstance(item, int) or item.bind != name)
