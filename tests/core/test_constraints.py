"""Masks of constraints equal those found by trying every token, wherever the walk goes."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import jsonschema
import llguidance
import numpy as np
import pytest
import regex
from llguidance import LLMatcher

from core.constraints.matcher import Matcher
from core.constraints.source import Kind, grammar_of
from core.constraints.vocabulary import ends, vocabulary
from core.errors import UserError
from core.loading.tokenizers import load_tokenizer
from core.tokenizers.tokenizer import Tokenizer

PATTERNS = [
    r"[A-Z][a-z]+( [A-Z][a-z]+)*\.",
    r"(yes|no|maybe)( please)?",
    r"(0|[1-9][0-9]*)(\.[0-9]+)?",
    r"(a|ab|abc)*c{2,3}",
    r"The (tea|coffee) [ -~]{0,6}!",
    r"[!-~]+[ \t\n]\w+",
    r"(a|b)*",
]
CHOICES = ["yes", "né\n", 'a "quoted" one', "日本", "日", "back\\slash", "tab\t", "🙂 ok"]
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "cups": {"type": "integer", "minimum": 1, "maximum": 12},
        "with": {"enum": ["oat milk", "milk", None]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 4}, "maxItems": 2},
    },
    "required": ["name", "cups", "with", "tags"],
    "additionalProperties": False,
}
GBNF = 'root ::= term ("+" term)*\nterm ::= [0-9] [0-9]?\n'
LARK = 'start: term ("+" term)*\nterm: /[0-9]{1,2}/\n'


@pytest.fixture(scope="module", params=["bytes", "world"])
def tokens(request: pytest.FixtureRequest) -> Tokenizer:
    return load_tokenizer(request.param)


def allowed(matcher: Matcher, ids: Sequence[int]) -> set[int]:
    return set(np.flatnonzero(matcher.allowed(ids)).tolist())


def by_trying(
    tokens: Tokenizer, ids: Sequence[int], possible: Callable[[bytes], Any], whole: Callable[[bytes], Any]
) -> set[int]:
    """The ids that can follow, by asking of every token whether the text with it is possible."""
    text = b"".join(map(tokens.piece, ids))
    found = {id for id in range(tokens.vocab_size) if tokens.spelled(id) and possible(text + tokens.spelled(id))}
    return found | (set(ends(tokens)) if whole(text) else set())


def walks(matcher: Matcher, tokens: Tokenizer, seed: int, steps: int) -> list[list[int]]:
    """The prefixes of a text of allowed tokens, drawn at random."""
    chance, ids, prefixes = random.Random(seed), list[int](), [[]]
    for _ in range(steps):
        options = sorted(allowed(matcher, ids) - ends(tokens))
        if not options:
            break
        ids.append(chance.choice(options))
        prefixes.append(list(ids))
    return prefixes


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_mask_of_a_regular_expression_equals_partial_matching(tokens: Tokenizer, pattern: str, seed: int) -> None:
    """Against the module `regex` over bytes, for every token after every prefix of a random text."""
    expression = regex.compile(pattern.encode(), regex.ASCII)
    matcher = Matcher("regex", pattern.replace(r"\w", "[a-zA-Z0-9_]"), tokens)
    for ids in walks(matcher, tokens, seed, 9):
        want = by_trying(tokens, ids, lambda text: expression.fullmatch(text, partial=True), expression.fullmatch)
        assert allowed(matcher, ids) == want, ids


def test_the_mask_of_choices_cuts_through_characters(tokens: Tokenizer) -> None:
    """Texts of several bytes a character, quotes, backslashes: exactly the tokens that begin or continue one."""
    choices = [each.encode() for each in CHOICES]
    matcher = Matcher("choice", json.dumps(CHOICES), tokens)
    for seed in range(12):
        for ids in walks(matcher, tokens, seed, 20):
            want = by_trying(tokens, ids, lambda text: any(c.startswith(text) for c in choices), choices.__contains__)
            assert allowed(matcher, ids) == want, ids


@pytest.mark.parametrize("grammar", [GBNF, LARK], ids=["gbnf", "lark"])
def test_the_mask_of_a_grammar_equals_that_of_its_language(tokens: Tokenizer, grammar: str) -> None:
    """Sums of numbers of one or two digits, written in both forms, against the same language as an expression."""
    expression = regex.compile(rb"[0-9]{1,2}(\+[0-9]{1,2})*")
    matcher = Matcher("grammar", grammar, tokens)
    for ids in walks(matcher, tokens, 3, 9):
        want = by_trying(tokens, ids, lambda text: expression.fullmatch(text, partial=True), expression.fullmatch)
        assert allowed(matcher, ids) == want, ids


@pytest.mark.parametrize("seed", range(6))
def test_texts_under_a_schema_are_json_that_it_accepts(tokens: Tokenizer, seed: int) -> None:
    """Random allowed tokens until the text may end: parsed by `json`, validated by `jsonschema`."""
    matcher, chance, ids = Matcher("json", json.dumps(SCHEMA), tokens), random.Random(seed), list[int]()
    while not (options := allowed(matcher, ids)) & ends(tokens):
        ids.append(chance.choice(sorted(options)))
        assert len(ids) < 400
    value = json.loads(b"".join(map(tokens.piece, ids)))
    jsonschema.validate(value, SCHEMA)
    assert matcher.allowed([*ids, min(ends(tokens))]).all()


@pytest.mark.parametrize(
    ("kind", "text"),
    [("regex", PATTERNS[0]), ("choice", json.dumps(CHOICES)), ("json", json.dumps(SCHEMA)), ("grammar", GBNF)],
)
def test_a_mask_depends_on_the_ids_alone(tokens: Tokenizer, kind: Kind, text: str) -> None:
    """One matcher jumps between prefixes of several texts; a fresh matcher of the library says the same each time."""
    matcher = Matcher(kind, text, tokens)
    prefixes = [ids for seed in range(3) for ids in walks(matcher, tokens, seed, 15)]
    chance = random.Random(5)
    matcher._masks.clear()
    for ids in (chance.choice(prefixes) for _ in range(150)):
        fresh = LLMatcher(vocabulary(tokens), grammar_of(kind, text), log_level=0)
        assert fresh.try_consume_tokens(ids) == len(ids)
        bits = np.frombuffer(fresh.compute_bitmask(), dtype=np.uint8)
        want = set(np.flatnonzero(np.unpackbits(bits, bitorder="little", count=tokens.vocab_size)).tolist())
        assert allowed(matcher, ids) == want


def test_a_text_that_left_the_constraint_is_named_and_harms_nothing(tokens: Tokenizer) -> None:
    """The place and the token; after it the matcher answers as before."""
    matcher = Matcher("regex", "abc|abd", tokens)
    before = allowed(matcher, tokens.encode("ab"))
    with pytest.raises(UserError, match="token 3 of the text, 'x'"):
        matcher.allowed([*tokens.encode("ab"), *tokens.encode("x")])
    with pytest.raises(UserError, match="token 1"):
        matcher.allowed([min(ends(tokens))])
    assert allowed(matcher, tokens.encode("ab")) == before


def test_after_the_end_everything_is_allowed(tokens: Tokenizer) -> None:
    """The end itself is the only token after a text that cannot go on."""
    matcher, end = Matcher("choice", '["a"]', tokens), min(ends(tokens))
    ids = tokens.encode("a")
    assert allowed(matcher, ids) == set(ends(tokens))
    assert matcher.allowed([*ids, end]).all()
    assert matcher.allowed([*ids, end, *tokens.encode("b")]).all()


@pytest.mark.parametrize(
    ("kind", "text", "named"),
    [
        ("regex", "", "empty"),
        ("regex", "(a", "unclosed group"),
        ("regex", "a(?=b)", "look-around"),
        ("regex", "(" * 3000 + ")" * 3000, "nested"),
        ("choice", "[]", "not empty"),
        ("choice", '["a", ""]', "not empty"),
        ("choice", "yes|no", "Expecting value"),
        ("json", "{bad", "property name"),
        ("json", '{"type": "nope"}', "Invalid type: nope"),
        ("json", '{"not": {}}', "Unimplemented keys"),
        ("json", '{"type": "string", "minLength": 3, "maxLength": 2}', "minLength"),
        ("json", "[" * 100_000, "recursion"),
        ("grammar", "start: nope", "nope"),
        ("grammar", "root ::= nope", "nope"),
        ("grammar", "start: " + "(" * 20_000 + '"a"' + ")" * 20_000, "deeply nested"),
        ("grammar", "x" * 200_001, "200,001 characters"),
    ],
)
def test_what_does_not_compile_is_one_line(kind: Kind, text: str, named: str) -> None:
    with pytest.raises(UserError) as caught:
        grammar_of(kind, text)
    assert named in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", [r"[^\x00-\U0010FFFF]", r"a[^\x00-\U0010FFFF]"])
def test_a_constraint_that_nothing_meets_is_said_where_it_ends(tokens: Tokenizer, text: str) -> None:
    """An empty class: no token at all, in one line."""
    with pytest.raises(UserError, match="no token can follow"):
        Matcher("regex", text, tokens).allowed([])


def test_special_tokens_and_ids_without_a_token_are_never_allowed() -> None:
    """cl100k has 100,277 ids, some of them unused; `<|endoftext|>` is allowed at the end alone."""
    tokens = load_tokenizer("cl100k")
    matcher = Matcher("regex", r"(.|\n)*", tokens)
    got = allowed(matcher, [])
    assert {
        id for id in range(tokens.vocab_size) if tokens.spelled(id) and _begins_character(tokens.spelled(id))
    } <= got
    assert all(tokens.spelled(id) or id in ends(tokens) for id in got)


def _begins_character(piece: bytes) -> bool:
    try:
        piece.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def test_the_library_is_the_one_that_is_declared() -> None:
    """A version whose masks these tests hold."""
    assert llguidance.LLMatcher is LLMatcher
