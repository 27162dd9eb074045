"""Small grammars: the notation, and the machine against all texts, written out one by one as fractions."""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core.world import grammar
from core.world.grammar import Grammar, Item
from core.world.machine import Machine

EXACT = settings(derandomize=True, database=None, deadline=None, max_examples=60)
MOST = 600
"""Texts that are written out of one grammar."""


def letters(word: str) -> list[int]:
    """A token a character: words that begin alike stay undecided for a while."""
    return [ord(c) for c in word]


# The slow, obvious version: every text with its probability ----------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """One piece of an alternative as the test knows it: a word, a rule, or what a name said."""

    word: str = ""
    rule: str = ""
    bind: str = ""
    but: str = ""
    echo: str = ""
    spaced: bool = True
    label: str = ""

    def written(self) -> str:
        bind, but = f"{self.bind}:" * bool(self.bind), f"-{self.but}" * bool(self.but)
        what = self.word.replace("\n", "¶") or f"<{bind}{self.rule}{self.echo}{but}>"
        return " " * self.spaced + what + f"^{self.label}" * bool(self.label)


Written = dict[str, list[tuple[int, list[Part]]]]
Said = tuple[tuple[str, str], ...]
"""Characters, each with the label of its place."""


def notation(rules: Written) -> str:
    return "\n".join(
        f"{name} = " + " | ".join(f"{weight} {''.join(part.written() for part in parts)}" for weight, parts in options)
        for name, options in rules.items()
    )


def expanded(rules: Written, parts: list[Part], told: dict[str, list[Part]]) -> Iterator[tuple[Fraction, Said]]:
    """All that a row of parts can say, each with its probability."""
    if not parts:
        yield Fraction(1), ()
        return
    head, rest = parts[0], parts[1:]
    if head.word:
        letters = " " * head.spaced + head.word
        said = tuple(zip(letters, (head.label, *[""] * len(letters)), strict=False))
        for share, after in expanded(rules, rest, told):
            yield share, said + after
        return
    if head.echo:
        options = [(1, [replace(told[head.echo][0], label="", spaced=True), *told[head.echo][1:]])]
    else:
        left_out = [part.word for part in told[head.but]] if head.but else None
        options = [option for option in rules[head.rule] if [part.word for part in option[1]] != left_out]
    total = sum(weight for weight, _ in options)
    for weight, choice in options:
        begin = replace(choice[0], spaced=head.spaced, label=head.label or choice[0].label)
        known = {**told, head.bind: choice} if head.bind else told
        for share, said in expanded(rules, [begin, *choice[1:]], {}):
            for further, after in expanded(rules, rest, known):
                yield share * further * Fraction(weight, total), said + after


class Oracle:
    """All texts of a grammar, and what follows from them by counting."""

    def __init__(self, rules: Written) -> None:
        self.texts = list(islice(expanded(rules, [Part(rule="text", spaced=False)], {}), MOST + 1))
        self.whole: dict[str, Fraction] = defaultdict(Fraction)
        self.ahead: dict[str, dict[str, Fraction]] = defaultdict(lambda: defaultdict(Fraction))
        """Of each beginning, how likely it is with each character after it."""
        self.label: dict[tuple[str, str], str] = defaultdict(str)
        for share, said in self.texts:
            text = "".join(c for c, _ in said)
            self.whole[text] += share
            for at, (c, label) in enumerate(said):
                self.ahead[text[:at]][c] += share
                self.label[text[:at], c] = max(self.label[text[:at], c], label)

    def floors(self, label: str | None) -> tuple[float, float, float]:
        """Means of -ln p(c), -ln p(c | the one before) and -ln p(c | the beginning) at places of a label."""
        length = math.fsum(len(text) * share for text, share in self.whole.items())
        single, pair = defaultdict[str, float](float), defaultdict[str, float](float)
        places: list[tuple[float, str, str, float]] = []  # how often, the one before, character, p(c | the beginning)
        for beginning, options in self.ahead.items():
            total = sum(options.values())
            befores = {beginning[-1]: Fraction(1)} if beginning else self._ends()
            for c, share in options.items():
                single[c] += float(share)
                for before, part in befores.items():
                    pair[before + c] += float(share * part)
                    if label is None or self.label[beginning, c] == label:
                        places.append((float(share * part), before, c, float(share / total)))
        sums = [0.0, 0.0, 0.0]
        for often, before, c, p in places:
            for n, q in enumerate((single[c] / length, pair[before + c] / single[before], p)):
                sums[n] -= often * math.log(q)
        count = math.fsum(often for often, *_ in places)
        return sums[0] / count, sums[1] / count, sums[2] / count

    def _ends(self) -> dict[str, Fraction]:
        ends: dict[str, Fraction] = defaultdict(Fraction)
        for text, share in self.whole.items():
            ends[text[-1]] += share
        return ends


def check_all(rules: Written, oracle: Oracle) -> None:
    """The machine says what counting says, of every beginning of every text."""
    assert sum(oracle.whole.values()) == 1
    made = Grammar(grammar.parse(notation(rules)), "text", letters)
    beliefs = {"": made.start}
    for beginning in sorted(oracle.ahead, key=len):
        options = oracle.ahead[beginning]
        total = sum(options.values())
        found = made.ahead(beliefs[beginning])
        assert {chr(token): each.share for token, each in found.items()} == {c: p / total for c, p in options.items()}
        assert {chr(token): each.label for token, each in found.items()} == {
            c: oracle.label[beginning, c] for c in options
        }
        beliefs |= {beginning + chr(token): each.belief for token, each in found.items()}
    assert {text for text in beliefs if text and beliefs[text] == made.start} == set(oracle.whole)
    machine = Machine(made)
    assert machine.length == pytest.approx(math.fsum(len(t) * p for t, p in oracle.whole.items()), abs=1e-9)
    labels = set(oracle.label.values()) - {""}
    assert set(machine.labels()) == labels
    for label in (None, *labels):
        floors = machine.floors(label)
        exact = oracle.floors(label)
        assert (floors.unigram, floors.last_token, floors.context) == pytest.approx(exact, abs=1e-9)
    for label in labels:
        places = {c for (_, c), own in oracle.label.items() if own == label}
        assert {chr(token) for token in machine.said_at(label)} == places
    said = {token for word in grammar.words(grammar.parse(notation(rules)), "text") for token in letters(word)}
    assert {ord(c) for text in oracle.whole for c in text} <= said


END = Part(word="\n", spaced=False)

GIFT: Written = {
    "text": [
        (2, [Part(bind="a", rule="name"), Part("gave"), Part(bind="b", rule="name", but="a"), Part(rule="thing"),
             Part(".", spaced=False), Part(echo="b", label="copy"), Part("thanked"), Part(echo="a", label="copy"),
             END]),
        (1, [Part(bind="a", rule="name"), Part("gave"), Part("up"), END]),
        (1, [Part("an"), Part(rule="thing", label="late"), END]),
    ],
    "name": [(1, [Part("anna")]), (2, [Part("ann")]), (3, [Part("b"), Part(",", spaced=False), Part("a")])],
    "thing": [(3, [Part("a"), Part("map")]), (1, [Part(rule="animal", label="pet")])],
    "animal": [(1, [Part("ant")]), (1, [Part("ape", label="inner")])],
}  # fmt: skip
NESTED: Written = {
    "text": [(1, [Part(rule="pair"), Part(bind="a", rule="name"), Part(echo="a"), Part(rule="pair"), END])],
    "pair": [(1, [Part(bind="a", rule="name"), Part(bind="a", rule="name", but="a"), Part(echo="a")])],
    "name": [(1, [Part("x")]), (2, [Part("y")]), (1, [Part("z")])],
}
NAMESAKES: Written = {
    "text": [
        (1, [Part(bind="a", rule="name"), Part(bind="b", rule="name"), Part(bind="c", rule="name", but="a"),
             Part(echo="c"), END]),
    ],
    "name": [(1, [Part("a")]), (2, [Part("b")]), (1, [Part("c")])],
}  # fmt: skip


@pytest.mark.parametrize("rules", [GIFT, NESTED, NAMESAKES], ids=["gift", "nested", "namesakes"])
def test_the_machine_says_what_counting_all_texts_says(rules: Written) -> None:
    """Words that begin alike, names within rules that give the same name, words that are called as names are."""
    check_all(rules, Oracle(rules))


@st.composite
def some_rules(draw: st.DrawFn) -> Written:
    """Small grammars: rules refer to later ones alone, and only rules that say words alone are remembered."""
    words = st.sampled_from(["a", "b", "ab", "aa", "ba", ",", ",,"])
    weights = st.integers(1, 3)
    labels = st.sampled_from(["", "", "here", "there"])
    names = [f"r{n}" for n in range(draw(st.integers(1, 3)))]
    leaf = [
        (weight, [Part(word, spaced=True, label=label) for word, label in said])
        for weight, said in draw(
            st.lists(
                st.tuples(weights, st.lists(st.tuples(words, labels), min_size=1, max_size=2)),
                min_size=2,
                max_size=3,
                unique_by=lambda each: tuple(word for word, _ in each[1]),
            )
        )
    ]

    def parts(later: list[str]) -> list[Part]:
        made: list[Part] = []
        known: list[str] = []
        for _ in range(draw(st.integers(1, 3))):
            kind, label = draw(st.sampled_from(["word", "rule", "leaf", "bind", "echo"])), draw(labels)
            spaced = draw(st.booleans()) or bool(made and (made[-1].word or made[-1].label))
            if kind == "rule" and later:
                made.append(Part(rule=draw(st.sampled_from(later)), spaced=spaced, label=label))
            elif kind == "bind":
                name, but = draw(st.sampled_from(["a", "b"])), draw(st.sampled_from(["", *known]))
                made.append(Part(rule="leaf", bind=name, but=but, spaced=spaced, label=label))
                known = [*{*known, name}]
            elif kind == "echo" and known:
                made.append(Part(echo=draw(st.sampled_from(known)), spaced=spaced, label=label))
            elif kind == "leaf":
                made.append(Part(rule="leaf", spaced=spaced, label=label))
            else:
                made.append(Part(draw(words), spaced=spaced, label=label))
        return made

    rules: Written = {"text": [(draw(weights), [*parts(names), END]) for _ in range(draw(st.integers(1, 2)))]}
    for n, name in enumerate(names):
        rules[name] = [(draw(weights), parts(names[n + 1 :])) for _ in range(draw(st.integers(1, 2)))]
    return {**rules, "leaf": leaf}


@EXACT
@given(rules=some_rules())
def test_so_it_does_of_grammars_that_nobody_thought_of(rules: Written) -> None:
    oracle = Oracle(rules)
    assume(len(oracle.texts) <= MOST)
    check_all(rules, oracle)


def test_the_machine_runs_through_texts_of_its_grammar() -> None:
    """Without end, one text after the other, the same ones for the same seed."""
    machine, oracle = Machine(Grammar(grammar.parse(notation(GIFT)), "text", letters)), Oracle(GIFT)
    said = "".join(chr(edge.token) for edge in islice(machine.run(3), 50_000))
    assert set(said[: said.rindex("\n") + 1].splitlines(keepends=True)) == set(oracle.whole)
    assert [*islice(machine.run(3), 100)] == [*islice(machine.run(3), 100)] != [*islice(machine.run(4), 100)]


# The notation --------------------------------------------------------------------------------------------------------


def test_a_line_is_a_rule_and_bars_part_its_alternatives() -> None:
    """Weights before them where they are not 1, lines that go on with the rule before, blank lines for the eye."""
    rules = grammar.parse("text = 3 a b\n     | c\n\n     | 2 d\nother = 12 months\n")
    assert [(weight, [item.word for item in items]) for weight, items in rules["text"]] == [
        (3, ["a", "b"]),
        (1, ["c"]),
        (2, ["d"]),
    ]
    assert rules["other"] == ((12, (Item("months"),)),)


def test_an_item_is_a_word_or_a_reference() -> None:
    """Letters and all else are items of their own; a space before one is kept, a label behind one is not said."""
    rules = grammar.parse('text = <a:name>, <b:name-a>^copy (<name>) said:^mark "no."¶ <a>\nname = Anna')
    ((_, items),) = rules["text"]
    assert items == (
        Item(rule="name", bind="a"),
        Item(","),
        Item(rule="name", bind="b", but="a", spaced=True, label="copy"),
        Item("(", spaced=True),
        Item(rule="name"),
        Item(")"),
        Item("said", spaced=True),
        Item(":", label="mark"),
        Item('"', spaced=True),
        Item("no"),
        Item('."\n'),
        Item(rule="a", spaced=True),
    )


@pytest.mark.parametrize(
    "text",
    [
        "  begins = with a space",
        "no equals sign",
        "two words = a",
        "= a",
        "text = a\ntext = b",
        "text = a |",
        "text = | a",
        "text =",
        "text = 0 a",
        "text = <name> a <",
        "text = a^",
        "text = <name>",
        "text = <a>",
        "text = <a> <a:name>\nname = x",
        "text = <b:name-a>\nname = x | y",
        "text = <name:name>\nname = x",
        "text = <a:thing>\nthing = a <name>\nname = x",
    ],
)
def test_what_is_no_grammar_is_refused(text: str) -> None:
    """Before anything is said by it, in one line."""
    with pytest.raises(ValueError) as error:
        grammar.parse(text)
    assert len(str(error.value).splitlines()) == 1


def test_the_last_token_of_a_text_ends_no_other() -> None:
    """Where one text goes on after another's end, nobody could tell whether it ended."""
    rules = grammar.parse("text = a | a b")
    with pytest.raises(AssertionError, match="must end"):
        Machine(Grammar(rules, "text", letters))


def test_words_are_all_that_can_be_said_with_their_spaces() -> None:
    """The first of a text has none; what a reference begins with has the space that stands before the reference."""
    rules = grammar.parse("text = <x> (<x>) <a:x>-<a>.¶\nx = b c | d")
    assert grammar.words(rules, "text") == {"b", " b", " c", "d", " d", " (", ")", "-", ".\n"}


def test_shares_are_exact() -> None:
    """Thirds stay thirds, however often they are summed."""
    made = Grammar(grammar.parse("text = <x> | <x> | a\nx = b¶ | 2 c¶"), "text", letters)
    shares = {chr(token): each.share for token, each in made.ahead(made.start).items()}
    assert shares == {"a": Fraction(1, 3), "b": Fraction(2, 9), "c": Fraction(4, 9)}
