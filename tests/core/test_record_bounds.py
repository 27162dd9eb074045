"""Numbers that are known between two others only, through the file of a walk, its export and a replay."""

import csv
import io
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import INFO, again, plain, text_of

from core.errors import UserError
from core.generation.token import Token
from core.sampling.bounds import Bounds, between
from core.sampling.sampler import Sampler
from core.sampling.values import Score
from core.sessions import export, reader
from core.sessions.record import NodeRow, Record
from core.sessions.replay import Replayed

KNOWN = Score(-1.25, -1.25, Bounds(2.31, 2.48), 3, known=50)
"""Of a token that is among 50 known ones."""
UNKNOWN = Score(Bounds(-math.inf, -8.1), Bounds(-math.inf, -8.1), Bounds(0.4, 0.4375), Bounds(50, math.inf), known=50)
"""Of one that is not."""


def walk() -> Record:
    rows = (
        NodeRow(0, Token(97, b"a"), latest=True, text="a"),
        NodeRow(1, Token(98, b"b", "sampled", KNOWN, 0.25, Bounds(0.2, 0.25), 0, Sampler(), INFO), latest=True),
        NodeRow(2, Token(99, b"c", "chosen", UNKNOWN, model=INFO), latest=True),
    )
    return plain(rows=rows, end=3, cursor=3)


def test_a_walk_with_bounds_is_restored() -> None:
    json.loads(text_of(walk()), parse_constant=pytest.fail)
    assert again(walk()) == walk()


def test_only_a_file_with_bounds_has_the_version_that_knows_them() -> None:
    """Older programs open a walk without bounds, and say that a newer one wrote a walk with some."""
    assert json.loads(text_of(plain()))["version"] == 2
    assert json.loads(text_of(walk()))["version"] == 3
    rows = (walk().rows[0], NodeRow(1, Token(98, b"b", "chosen", Score(-1.0, -1.0, 2.0, 0, known=50)), latest=True))
    assert json.loads(text_of(plain(rows=rows, end=2, cursor=2)))["version"] == 3


ends = st.floats(0, 64, allow_nan=False)


@given(ends, ends, st.floats(-1e38, 0.0), st.integers(1, 256))
@settings(derandomize=True, database=None, max_examples=100)
def test_both_ends_are_restored_to_the_last_bit(one: float, other: float, most: float, known: int) -> None:
    entropy = between(min(one, other), max(one, other))
    score = Score(Bounds(-math.inf, most), Bounds(-math.inf, most), entropy, Bounds(known, math.inf), known)
    changed = plain(rows=(NodeRow(0, Token(97, b"a", score=score)),), end=1, cursor=1)
    assert again(changed).rows[0].token.score == score


def changed(number: int, key: str, value: Any) -> str:
    values = json.loads(text_of(walk()))
    values["nodes"][number - 1][key] = value
    return json.dumps(values)


@pytest.mark.parametrize(
    ("number", "key", "value", "words"),
    [
        (2, "entropy_bits", [2.4, 2.3], "node 2: invalid value for entropy_bits: .* the lower number first"),
        (2, "entropy_bits", [2.4], "node 2: invalid value for entropy_bits: .* a list of two"),
        (2, "entropy_bits", [2.4, 70], "node 2: entropy_bits: invalid value for high: 70"),
        (2, "entropy_bits", [2.4, "inf"], "node 2: entropy_bits: invalid value for high: 'inf'"),
        (3, "logprob", ["-inf", 3], "node 3: logprob: invalid value for high: 3"),
        (3, "rank", [50, 60], "node 3: invalid value for rank"),
        (3, "rank", [257, "inf"], "node 3: rank: invalid value for low: 257"),
        (2, "sampled_probability", [0.1, 2], "node 2: sampled_probability: invalid value for high: 2"),
        (2, "known", 0, "node 2: invalid value for known: 0"),
        (2, "known", 257, "node 2: invalid value for known: 257"),
    ],
)
def test_damaged_bounds_are_refused_by_name(number: int, key: str, value: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        reader.parse_record(changed(number, key, value), "walk.json")


def test_exports_have_both_ends() -> None:
    _, known, unknown = (json.loads(line) for line in export.json_lines(walk()))
    assert known["entropy_bits"] == [2.31, 2.48]
    assert known["sampled_probability"] == [0.2, 0.25]
    assert (known["logprob"], known["rank"], known["known"]) == (-1.25, 4, 50)
    assert unknown["rank"] == [51, None]
    assert unknown["probability"] == [0.0, pytest.approx(math.exp(-8.1))]
    assert unknown["surprisal_bits"] == [pytest.approx(8.1 / math.log(2)), None]
    rows = list(csv.DictReader(io.StringIO("".join(export.comma_separated(walk())))))
    assert (rows[1]["entropy_bits"], rows[1]["known"], rows[0]["known"]) == ("2.31–2.48", "50", "")
    assert rows[2]["rank"] == "> 50"
    page = "".join(export.markdown(walk()))
    assert "| chosen | ≤ 0.000303539 | ≥ 11.686 | > 50 |  |" in page


@pytest.mark.parametrize(
    ("then", "now", "difference"),
    [
        (KNOWN, -1.5, 0.25),
        (KNOWN, Bounds(-math.inf, -1.5), 0.25),
        (KNOWN, Bounds(-math.inf, -1.0), 0.0),
        (UNKNOWN, -8.0, pytest.approx(0.1)),
        (UNKNOWN, -9.0, 0.0),
        (UNKNOWN, Bounds(-math.inf, -9.0), 0.0),
    ],
)
def test_a_replay_differs_by_what_is_certain(then: Score, now: Any, difference: float) -> None:
    """Bounds that a number lies in say nothing against it."""
    found = Replayed(2, Token(98, b"b", "chosen", then), logprob=now)
    assert found.difference == difference
    assert found.differs(0.05) == (difference != 0.0)
