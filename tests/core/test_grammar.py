"""Small grammars: the notation, and the automaton compared with a list of all texts and their exact probabilities."""

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
from core.world.automaton import Automaton
from core.world.grammar import Grammar, Item

EXACT = settings(derandomize=True, database=None, deadline=None, max_examples=60)
MAX_TEXTS = 600
"""Largest number of texts of a grammar that is listed."""


def letters(word: str) -> list[int]:
    """One token per character, so that words with a common beginning are ambiguous for a while."""
    return [ord(c) for c in word]


# The oracle: every text with its probability -------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """One symbol of an alternative: a word, a rule, or a variable (`echo`)."""

    word: str = ""
    rule: str = ""
    bind: str = ""
    excluding: str = ""
    echo: str = ""
    spaced: bool = True
    label: str = ""

    def written(self) -> str:
        bind, excluding = f"{self.bind}:" * bool(self.bind), f"-{self.excluding}" * bool(self.excluding)
        symbol = self.word.replace("\n", "¶") or f"<{bind}{self.rule}{self.echo}{excluding}>"
        return " " * self.spaced + symbol + f"^{self.label}" * bool(self.label)


Written = dict[str, list[tuple[int, list[Part]]]]
Characters = tuple[tuple[str, str], ...]
"""Characters, each with its label."""


def notation(rules: Written) -> str:
    return "\n".join(
        f"{name} = " + " | ".join(f"{weight} {''.join(part.written() for part in parts)}" for weight, parts in options)
        for name, options in rules.items()
    )


def expanded(
    rules: Written, parts: list[Part], variables: dict[str, list[Part]]
) -> Iterator[tuple[Fraction, Characters]]:
    """Every text that a series of parts can expand to, with its probability."""
    if not parts:
        yield Fraction(1), ()
        return
    head, rest = parts[0], parts[1:]
    if head.word:
        letters = " " * head.spaced + head.word
        text = tuple(zip(letters, (head.label, *[""] * len(letters)), strict=False))
        for probability, after in expanded(rules, rest, variables):
            yield probability, text + after
        return
    if head.echo:
        value = variables[head.echo]
        options = [(1, [replace(value[0], label="", spaced=True), *value[1:]])]
    else:
        excluded = [part.word for part in variables[head.excluding]] if head.excluding else None
        options = [option for option in rules[head.rule] if [part.word for part in option[1]] != excluded]
    total = sum(weight for weight, _ in options)
    for weight, choice in options:
        begin = replace(choice[0], spaced=head.spaced, label=head.label or choice[0].label)
        bound = {**variables, head.bind: choice} if head.bind else variables
        for probability, text in expanded(rules, [begin, *choice[1:]], {}):
            for following, after in expanded(rules, rest, bound):
                yield probability * following * Fraction(weight, total), text + after


class Oracle:
    """All texts of a grammar, and the probabilities that follow from them by counting."""

    def __init__(self, rules: Written) -> None:
        self.texts = list(islice(expanded(rules, [Part(rule="text", spaced=False)], {}), MAX_TEXTS + 1))
        self.probabilities: dict[str, Fraction] = defaultdict(Fraction)
        self.following: dict[str, dict[str, Fraction]] = defaultdict(lambda: defaultdict(Fraction))
        """The probability of each beginning together with each character after it."""
        self.label: dict[tuple[str, str], str] = defaultdict(str)
        for probability, characters in self.texts:
            text = "".join(c for c, _ in characters)
            self.probabilities[text] += probability
            for at, (c, label) in enumerate(characters):
                self.following[text[:at]][c] += probability
                self.label[text[:at], c] = max(self.label[text[:at], c], label)

    def floors(self, label: str | None) -> tuple[float, float, float]:
        """Means of -ln p(c), -ln p(c | c before) and -ln p(c | beginning) over the characters with a label."""
        length = math.fsum(len(text) * p for text, p in self.probabilities.items())
        single, pair = defaultdict[str, float](float), defaultdict[str, float](float)
        places: list[tuple[float, str, str, float]] = []  # frequency, c before, c, p(c | beginning)
        for beginning, options in self.following.items():
            total = sum(options.values())
            befores = {beginning[-1]: Fraction(1)} if beginning else self._ends()
            for c, probability in options.items():
                single[c] += float(probability)
                for before, part in befores.items():
                    pair[before + c] += float(probability * part)
                    if label is None or self.label[beginning, c] == label:
                        places.append((float(probability * part), before, c, float(probability / total)))
        sums = [0.0, 0.0, 0.0]
        for frequency, before, c, p in places:
            for n, q in enumerate((single[c] / length, pair[before + c] / single[before], p)):
                sums[n] -= frequency * math.log(q)
        count = math.fsum(frequency for frequency, *_ in places)
        return sums[0] / count, sums[1] / count, sums[2] / count

    def _ends(self) -> dict[str, Fraction]:
        ends: dict[str, Fraction] = defaultdict(Fraction)
        for text, probability in self.probabilities.items():
            ends[text[-1]] += probability
        return ends


def check_all(rules: Written, oracle: Oracle) -> None:
    """Compare grammar and automaton with the oracle after every beginning of every text."""
    assert sum(oracle.probabilities.values()) == 1
    parsed = Grammar(grammar.parse(notation(rules)), "text", letters)
    beliefs = {"": parsed.start}
    for beginning in sorted(oracle.following, key=len):
        options = oracle.following[beginning]
        total = sum(options.values())
        found = parsed.transitions(beliefs[beginning])
        assert {chr(token): each.probability for token, each in found.items()} == {
            c: p / total for c, p in options.items()
        }
        assert {chr(token): each.label for token, each in found.items()} == {
            c: oracle.label[beginning, c] for c in options
        }
        beliefs |= {beginning + chr(token): each.belief for token, each in found.items()}
    assert {text for text in beliefs if text and beliefs[text] == parsed.start} == set(oracle.probabilities)
    automaton = Automaton(parsed)
    mean_length = math.fsum(len(text) * p for text, p in oracle.probabilities.items())
    assert automaton.mean_length == pytest.approx(mean_length, abs=1e-9)
    labels = set(oracle.label.values()) - {""}
    assert set(automaton.labels()) == labels
    for label in (None, *labels):
        floors = automaton.floors(label)
        exact = oracle.floors(label)
        assert (floors.unigram, floors.last_token, floors.context) == pytest.approx(exact, abs=1e-9)
    for label in labels:
        labeled = {c for (_, c), own in oracle.label.items() if own == label}
        assert {chr(token) for token in automaton.tokens_at(label)} == labeled
    tokens = {token for word in grammar.terminals(grammar.parse(notation(rules)), "text") for token in letters(word)}
    assert {ord(c) for text in oracle.probabilities for c in text} <= tokens


END = Part(word="\n", spaced=False)

GIFT: Written = {
    "text": [
        (2, [Part(bind="a", rule="name"), Part("gave"), Part(bind="b", rule="name", excluding="a"), Part(rule="thing"),
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
    "pair": [(1, [Part(bind="a", rule="name"), Part(bind="a", rule="name", excluding="a"), Part(echo="a")])],
    "name": [(1, [Part("x")]), (2, [Part("y")]), (1, [Part("z")])],
}
NAMESAKES: Written = {
    "text": [
        (1, [Part(bind="a", rule="name"), Part(bind="b", rule="name"), Part(bind="c", rule="name", excluding="a"),
             Part(echo="c"), END]),
    ],
    "name": [(1, [Part("a")]), (2, [Part("b")]), (1, [Part("c")])],
}  # fmt: skip


@pytest.mark.parametrize("rules", [GIFT, NESTED, NAMESAKES], ids=["gift", "nested", "namesakes"])
def test_probabilities_equal_those_of_listing_all_texts(rules: Written) -> None:
    """Words with a common beginning, variables with the same name in nested rules, words that equal variable names."""
    check_all(rules, Oracle(rules))


@st.composite
def some_rules(draw: st.DrawFn) -> Written:
    """Small grammars: a rule refers to later ones only, and variables hold alternatives of `leaf`, which has words."""
    words = st.sampled_from(["a", "b", "ab", "aa", "ba", ",", ",,"])
    weights = st.integers(1, 3)
    labels = st.sampled_from(["", "", "here", "there"])
    names = [f"r{n}" for n in range(draw(st.integers(1, 3)))]
    leaf = [
        (weight, [Part(word, spaced=True, label=label) for word, label in labeled])
        for weight, labeled in draw(
            st.lists(
                st.tuples(weights, st.lists(st.tuples(words, labels), min_size=1, max_size=2)),
                min_size=2,
                max_size=3,
                unique_by=lambda each: tuple(word for word, _ in each[1]),
            )
        )
    ]

    def parts(later: list[str]) -> list[Part]:
        drawn: list[Part] = []
        bound: list[str] = []
        for _ in range(draw(st.integers(1, 3))):
            kind, label = draw(st.sampled_from(["word", "rule", "leaf", "bind", "echo"])), draw(labels)
            spaced = draw(st.booleans()) or bool(drawn and (drawn[-1].word or drawn[-1].label))
            if kind == "rule" and later:
                drawn.append(Part(rule=draw(st.sampled_from(later)), spaced=spaced, label=label))
            elif kind == "bind":
                name, excluding = draw(st.sampled_from(["a", "b"])), draw(st.sampled_from(["", *bound]))
                drawn.append(Part(rule="leaf", bind=name, excluding=excluding, spaced=spaced, label=label))
                bound = [*{*bound, name}]
            elif kind == "echo" and bound:
                drawn.append(Part(echo=draw(st.sampled_from(bound)), spaced=spaced, label=label))
            elif kind == "leaf":
                drawn.append(Part(rule="leaf", spaced=spaced, label=label))
            else:
                drawn.append(Part(draw(words), spaced=spaced, label=label))
        return drawn

    rules: Written = {"text": [(draw(weights), [*parts(names), END]) for _ in range(draw(st.integers(1, 2)))]}
    for n, name in enumerate(names):
        rules[name] = [(draw(weights), parts(names[n + 1 :])) for _ in range(draw(st.integers(1, 2)))]
    return {**rules, "leaf": leaf}


@EXACT
@given(rules=some_rules())
def test_probabilities_of_generated_grammars_equal_those_of_listing_all_texts(rules: Written) -> None:
    oracle = Oracle(rules)
    assume(len(oracle.texts) <= MAX_TEXTS)
    check_all(rules, oracle)


def test_samples_are_texts_of_the_grammar() -> None:
    """One text after the other, all texts in the end, the same ones for the same seed."""
    automaton, oracle = Automaton(Grammar(grammar.parse(notation(GIFT)), "text", letters)), Oracle(GIFT)
    text = "".join(chr(edge.token) for edge in islice(automaton.sample(3), 50_000))
    assert set(text[: text.rindex("\n") + 1].splitlines(keepends=True)) == set(oracle.probabilities)
    samples = [[*islice(automaton.sample(seed), 100)] for seed in (3, 3, 4)]
    assert samples[0] == samples[1] != samples[2]


# The notation --------------------------------------------------------------------------------------------------------


def test_a_line_is_a_rule_of_weighted_alternatives() -> None:
    """Bars separate them, a weight of 1 may be left out, indented lines continue a rule, blank lines are skipped."""
    rules = grammar.parse("text = 3 a b\n     | c\n\n     | 2 d\nother = 12 months\n")
    assert [(weight, [item.word for item in items]) for weight, items in rules["text"]] == [
        (3, ["a", "b"]),
        (1, ["c"]),
        (2, ["d"]),
    ]
    assert rules["other"] == ((12, (Item("months"),)),)


def test_an_item_is_a_word_or_a_reference() -> None:
    """Letters and other characters are separate items; the space before an item is kept, and so is its label."""
    rules = grammar.parse('text = <a:name>, <b:name-a>^copy (<name>) said:^mark "no."¶ <a>\nname = Anna')
    ((_, items),) = rules["text"]
    assert items == (
        Item(rule="name", bind="a"),
        Item(","),
        Item(rule="name", bind="b", excluding="a", spaced=True, label="copy"),
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
def test_text_that_is_no_grammar_raises_a_value_error(text: str) -> None:
    """Its message is one line."""
    with pytest.raises(ValueError) as error:
        grammar.parse(text)
    assert len(str(error.value).splitlines()) == 1


def test_a_text_that_is_the_beginning_of_another_is_refused() -> None:
    """After it, nobody could tell whether the text has ended."""
    rules = grammar.parse("text = a | a b")
    with pytest.raises(AssertionError, match="must end"):
        Automaton(Grammar(rules, "text", letters))


def test_terminals_are_all_words_with_the_space_before_them() -> None:
    """The first word of a text has none; the first word of a reference has the one before the reference."""
    rules = grammar.parse("text = <x> (<x>) <a:x>-<a>.¶\nx = b c | d")
    assert grammar.terminals(rules, "text") == {"b", " b", " c", "d", " d", " (", ")", "-", ".\n"}


def test_probabilities_are_exact_fractions() -> None:
    """Sums of thirds are not rounded."""
    parsed = Grammar(grammar.parse("text = <x> | <x> | a\nx = b¶ | 2 c¶"), "text", letters)
    found = {chr(token): each.probability for token, each in parsed.transitions(parsed.start).items()}
    assert found == {"a": Fraction(1, 3), "b": Fraction(2, 9), "c": Fraction(4, 9)}
