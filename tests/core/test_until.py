"""Stop conditions: which forms can be parsed, when each holds, and the reason it gives."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.errors import UserError
from core.generation.stop_conditions import FORMS, StopConditions, Threshold, parse, parts
from core.generation.token import Token
from core.loading.model import Model
from core.sampling.sampler import Sampler
from core.sampling.values import Score
from core.walk.session import Session

Small = Callable[..., Model]
After = Callable[[Any, Sequence[int]], Tensor]

PROMPT = list(b"oat")
quiet = settings(derandomize=True, database=None, deadline=None, max_examples=200)


def started(model: Model, sampler: Sampler = Sampler()) -> Session:
    walk = Session(model, sampler)
    list(walk.prefill(PROMPT))
    return walk


def token(id: int, rank: int = 0, bits: float = 1.0) -> Token:
    return Token(id, bytes([id]), "sampled", Score(0.0, -bits * math.log(2), 3.0, rank))


# What can be written ------------------------------------------------------------------------------------------------

BOUNDS = st.one_of(st.integers(0, 10**6).map(str), st.floats(0, 1e6).map(lambda x: f"{x:g}".replace("e+", "e")))
BLANKS = st.sampled_from(["", " ", "  ", "\t"])
NAMES = st.sampled_from(["entropy", "margin", "rank", "surprisal"])
WORDS = st.text(st.characters(exclude_characters="'\";", exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@quiet
@given(BLANKS, NAMES, BLANKS, st.sampled_from("<>"), BLANKS, BOUNDS, BLANKS, st.booleans())
def test_a_threshold_is_parsed(a: str, name: str, b: str, sign: str, c: str, bound: str, d: str, loud: bool) -> None:
    """Spaces and capitals do not matter; the bound is the number as written."""
    line = a + (name.upper() if loud else name) + b + sign + c + bound + d
    assert parse([line]) == StopConditions(thresholds=(Threshold(name, sign == ">", float(bound)),))  # type: ignore[arg-type]


@quiet
@given(WORDS, st.sampled_from(["'{}'", '"{}"']))
def test_a_quoted_text_is_taken_literally(text: str, quotes: str) -> None:
    """Including its spaces and line feeds."""
    assert parse([f"text {quotes.format(text)}"]) == StopConditions(texts=(text,))


@quiet
@given(WORDS)
def test_an_unquoted_text_is_stripped(text: str) -> None:
    """Spaces around it are not part of the text."""
    assert parse([f"text {text}"]) == StopConditions(texts=(text.strip(),))


@quiet
@given(st.integers(0, 10**9 - 1), st.integers(1, 999_999))
def test_a_token_and_a_count_are_parsed(id: int, count: int) -> None:
    assert parse([f"token {id}", f"{count} tokens"]) == StopConditions(tokens=(id,), limit=count)


@quiet
@given(st.text())
def test_an_unknown_condition_is_one_line_with_the_allowed_forms(line: str) -> None:
    """No other exception, whatever is typed; the line names the forms."""
    try:
        until = parse(parts(line))
    except UserError as error:
        assert FORMS in str(error)
        assert len(str(error).splitlines()) == 1
    else:
        assert until or until.limit


@quiet
@given(st.lists(st.tuples(NAMES, st.sampled_from("<>"), st.integers(0, 99)), min_size=1, max_size=4), st.text("; "))
def test_a_condition_is_parsed_from_its_own_text(conditions: list[tuple[str, str, int]], blank: str) -> None:
    """Several are separated by `;`, empty parts aside; written out again they are the same conditions."""
    line = f"{blank};".join(f"{name} {sign} {bound}" for name, sign, bound in conditions) + blank
    until = parse(parts(line))
    assert len(until.thresholds) == len(conditions)
    assert parse(str(until).split(" or ")) == until


@pytest.mark.parametrize(
    ("line", "conditions"),
    [
        ("entropy > 4; text '.'", ["entropy > 4", "text '.'"]),
        ("text ';'", ["text ';'"]),
        ('text "; "; token 3;', ['text "; "', "token 3"]),
        ("text don't; rank > 3", ["text don't", "rank > 3"]),
        ("", [""]),
        (" ; ;", [""]),
    ],
)
def test_a_semicolon_in_quotes_does_not_separate(line: str, conditions: list[str]) -> None:
    assert [part.strip() for part in parts(line)] == conditions


NO_CONDITIONS = ["", "entropy", "entropy 4", "entropy > ", "entropy > 1.2.3", "entropy >= 4", "entropy > nan"]
NO_CONDITIONS += ["rank > inf", "0 tokens", "many tokens", "token -1", "text", "text ''", "perplexity > 3"]


@pytest.mark.parametrize("line", [*NO_CONDITIONS, "entropy > 4 or margin < 1"])
def test_unknown_conditions_are_user_errors(line: str) -> None:
    with pytest.raises(UserError) as error:
        parse([line])
    assert FORMS in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_the_smallest_count_is_the_limit() -> None:
    """Whichever holds first ends it."""
    assert parse(["50 tokens", "7 tokens", "9 tokens"]).limit == 7


# When they hold -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "before", "after", "reason"),
    [
        ("entropy > 3", (3.5, 0.5), token(1), "entropy > 3 (3.5)"),
        ("entropy < 3", (2.25, 0.5), token(1), "entropy < 3 (2.25)"),
        ("entropy > 3", (3.0, 0.5), token(1), ""),
        ("margin < 0.1", (3.5, 0.05), token(1), "margin < 0.1 (0.05)"),
        ("margin > 0.9", (3.5, 0.05), token(1), ""),
        ("rank > 10", (3.5, 0.5), token(1, rank=10), "rank > 10 (11)"),
        ("rank > 10", (3.5, 0.5), token(1, rank=9), ""),
        ("rank > 10", (3.5, 0.5), token(1, rank=54_320), "rank > 10 (54,321)"),
        ("surprisal > 8", (3.5, 0.5), token(1, bits=8.5), "surprisal > 8 (8.5)"),
        ("token 65", (3.5, 0.5), token(65), "token 65"),
        ("token 65", (3.5, 0.5), token(66), ""),
        ("text 'AB'", (3.5, 0.5), token(66), "text 'AB'"),
        ("text 'BA'", (3.5, 0.5), token(66), ""),
    ],
)
def test_each_condition_holds_where_it_should(
    line: str, before: tuple[float, float], after: Token, reason: str
) -> None:
    """Conditions on a distribution hold before its token, others after it; the reason names the value."""
    until = parse([line])
    assert (until.before(*before) or until.after(after, "AB")) == reason


def test_a_token_without_a_score_meets_no_threshold() -> None:
    assert parse(["rank > 0", "surprisal > 0"]).after(Token(3, b"x"), "x") == ""


# In a walk ----------------------------------------------------------------------------------------------------------


def expected(model: Model, sampler: Sampler, holds: Callable[[Session, Token | None, str], bool], most: int) -> int:
    """How many tokens a walk draws one by one until `holds(walk, last token, text)`."""
    walk, text = started(model, sampler), b""
    for count in range(most):
        if count and holds(walk, None, ""):
            return count
        token = walk.step()
        text += token.piece
        if holds(walk, token, text.decode("utf-8", "ignore")):
            return count + 1
    return most


def entropy(walk: Session) -> float:
    p = walk.distribution().logits.double().softmax(-1)
    return float(-(p * p.log2()).sum())


def margin(walk: Session) -> float:
    first, second = walk.distribution().logits.double().softmax(-1).topk(2).values.tolist()
    return first - second


def value_of(name: str, walk: Session, token: Token | None) -> float:
    """A measure of the next-token distribution, or of the last token."""
    if token is None or name in ("entropy", "margin"):
        return entropy(walk) if name == "entropy" else margin(walk)
    assert token.score
    return token.score.rank + 1 if name == "rank" else token.score.surprisal_bits


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("measure", ["entropy >", "entropy <", "margin <", "margin >", "rank >", "surprisal >"])
def test_a_generation_ends_where_the_threshold_holds(small: Small, measure: str, share: float, seed: int) -> None:
    """Against float64 over the whole vocabulary, token by token; bounds from the walk itself."""
    model, sampler = small("model5"), Sampler(seed=seed)
    name, sign = measure.split()
    probe, values = started(model, sampler), []
    for _ in range(25):
        token = probe.step()
        assert token.score
        values.append(value_of(name, probe, token))
    bound = sorted(values)[int(share * 25)] + (0.5 if name == "rank" else 1e-4)

    def holds(walk: Session, token: Token | None, _: str) -> bool:
        if (token is None) != (name in ("entropy", "margin")):
            return False
        value = value_of(name, walk, token)
        return value > bound if sign == ">" else value < bound

    walk = started(model, sampler)
    until = StopConditions(thresholds=(Threshold(name, sign == ">", bound),))  # type: ignore[arg-type]
    tokens = list(walk.generate(25, until))
    want = expected(model, sampler, holds, 25)
    assert len(tokens) == want
    assert walk.stopped.startswith(f"stopped: {name}" if want < 25 else ("stopped", "25 tokens without"))


def test_a_text_may_span_tokens_and_bytes_of_a_character(small: Small) -> None:
    """One token per byte: `é!` and `字` are complete with their last byte, which ends the generation."""
    for wanted in ("é!", "字", "ab"):
        walk = started(small())
        pieces = iter([*b"x\xe5\xe5a" + wanted.encode() + b"zzz"])
        walk.step = lambda walk=walk, pieces=pieces: walk.take(next(pieces))  # type: ignore[method-assign]
        tokens = list(walk.generate(20, parse([f"text {wanted}"])))
        assert bytes(token.id for token in tokens) == b"x\xe5\xe5a" + wanted.encode()
        assert walk.stopped == f"stopped: text {wanted!r}"


def test_a_text_of_the_prompt_does_not_count(small: Small) -> None:
    """Only generated text counts, even if the prompt ends in the middle of the wanted text."""
    walk = started(small())
    pieces = iter(b"ts t!oat")
    walk.step = lambda: walk.take(next(pieces))  # type: ignore[method-assign]
    tokens = list(walk.generate(8, parse(["text oat", "text 'at'"])))
    assert len(tokens) == 8


def test_a_condition_that_never_holds_ends_at_the_limit(small: Small) -> None:
    walk = started(small())
    until = parse(["entropy > 1000", "text 'never ever'", "token 999999"])
    assert len(list(walk.generate(12, until))) == 12
    assert walk.stopped == "12 tokens without entropy > 1000 or text 'never ever' or token 999999"
    assert walk.snapshot().stopped == walk.stopped


def test_the_reason_disappears_with_the_next_step(small: Small) -> None:
    """A generation without conditions, or one that is interrupted, gives no reason."""
    walk = started(small())
    list(walk.generate(3, parse(["token 999999"])))
    walk.step()
    assert walk.stopped == ""
    list(walk.generate(3))
    assert walk.stopped == ""
    next(walk.generate(3, parse(["token 999999"])))
    assert walk.stopped == ""
    list(walk.generate(2, parse(["2 tokens"])))
    assert walk.stopped == ""


def test_a_walk_can_go_on_from_where_it_stopped(small: Small) -> None:
    """The distribution that ended one generation does not end the next before its first token."""
    walk, whole = started(small("model5")), started(small("model5"))
    until = parse(["entropy > 0"])
    for _ in range(6):
        assert len(list(walk.generate(10, until))) == 1
        assert walk.stopped.startswith("stopped: entropy > 0 (")
    assert [t.id for t in walk.tokens[3:]] == [t.id for t in whole.generate(6)]
