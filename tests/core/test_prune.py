"""Vocabularies cut from cl100k: the same pieces on what they were cut for, and any other text still goes through."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.loading import tokenizers
from core.tokenizers import prune
from core.tokenizers.tokenizer import Tokenizer
from core.training.dataset import REFERENCE

EXACT = settings(derandomize=True, database=None, deadline=None, max_examples=200)
TEXTS = st.text(max_size=60) | st.text("aeinorst' \n,1", max_size=60)
CORPUS = (
    REFERENCE + "naïve 日本語 👩‍🚀 antidisestablishmentarianism don't 31415\r\n\t  x = y[0]  \n\n" + " " * 90 + "\n"
)


def whole() -> Tokenizer:
    return tokenizers.load_tokenizer("cl100k")


def cut(text: str, name: str = "cut") -> Tokenizer:
    return prune.prune(whole(), whole().encode(text), name)


USED = cut(CORPUS).originals[:-1]


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return cut(CORPUS)


def test_the_corpus_falls_into_the_same_pieces(words: Tokenizer) -> None:
    """As cl100k has them, under ids of its own."""
    ids = words.encode(CORPUS)
    assert [words.originals[id] for id in ids] == whole().encode(CORPUS)
    assert words.text(ids) == CORPUS
    assert max(ids) < words.vocab_size < 1000


def test_ids_go_to_cl100k_and_back(words: Tokenizer) -> None:
    """Each id is the same bytes there, in the same order; the end of a text is the last in both."""
    assert len(words.originals) == words.vocab_size == len({*words.originals})
    assert [*words.originals] == sorted(words.originals)
    assert [words.piece(id) for id in range(words.vocab_size)] == [whole().piece(id) for id in words.originals]
    assert (words.end_of_text, words.originals[-1]) == (words.vocab_size - 1, whole().end_of_text)


def merges(piece: bytes) -> set[bytes]:
    """What byte-pair encoding makes on the way to a token, by the obvious loop."""
    ranks = {whole().piece(id): id for id in range(100_256)}
    parts, made = [bytes([value]) for value in piece], {piece}
    while len(parts) > 1:
        rank, at = min(
            (ranks.get(parts[at] + parts[at + 1], 10**9), at) for at in range(len(parts) - 1)
        )  # the lowest rank, the first of equals
        assert rank < 10**9
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        made.add(parts[at])
    return made


def test_nothing_is_kept_but_bytes_used_tokens_and_the_merges_on_the_way() -> None:
    text = "antidisestablishmentarianism in oat milk 字"
    words = cut(text)
    used = {whole().piece(id) for id in whole().encode(text)}
    wanted = {bytes([value]) for value in range(256)}.union(*(merges(piece) for piece in used))
    assert {words.piece(id) for id in range(words.vocab_size - 1)} == wanted
    assert not used <= {bytes([value]) for value in range(256)}


def test_nothing_used_is_bytes_alone() -> None:
    words = prune.prune(whole(), [], "none")
    assert words.vocab_size == 257
    assert sorted(words.piece(id) for id in range(256)) == [bytes([value]) for value in range(256)]


@EXACT
@given(text=TEXTS)
def test_any_text_goes_through(text: str) -> None:
    """Of text it was not cut for nothing is lost, and no id is outside."""
    words = prune.from_ids(whole(), USED, "cut")
    ids = words.encode(text)
    assert words.text(ids) == text
    assert all(0 <= id < words.vocab_size - 1 for id in ids)


@EXACT
@given(text=TEXTS)
def test_any_text_is_the_same_in_what_was_cut_for_it(text: str) -> None:
    """Whatever a person trains on falls into the pieces that cl100k makes of it."""
    words = cut(text)
    assert [words.originals[id] for id in words.encode(text)] == whole().encode(text)


def test_the_end_of_a_text_may_be_used() -> None:
    """It is there in any case, once, and plain text unless it is asked for."""
    words = prune.prune(whole(), whole().encode("a<|endoftext|>b", special=True), "ends")
    assert words.vocab_size == 257
    assert words.encode("<|endoftext|>", special=True) == [256]
    assert 256 not in words.encode("<|endoftext|>")


def test_the_same_ids_are_the_same_vocabulary() -> None:
    """One object, so that models which share it can be compared; another name or another text is another."""
    assert cut("oat milk") is cut("oat milk milk") is prune.from_ids(whole(), cut("oat milk").originals[:-1], "cut")
    assert cut("oat milk", "another") is not cut("oat milk") is not cut("soy milk")
