"""Vocabularies pruned from cl100k: the corpus keeps its tokens, and any other text can be encoded."""

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
def tokenizer() -> Tokenizer:
    return cut(CORPUS)


def test_the_corpus_keeps_its_tokens(tokenizer: Tokenizer) -> None:
    """The tokens of cl100k, under compact ids."""
    ids = tokenizer.encode(CORPUS)
    assert [tokenizer.originals[id] for id in ids] == whole().encode(CORPUS)
    assert tokenizer.text(ids) == CORPUS
    assert max(ids) < tokenizer.vocab_size < 1000


def test_originals_map_ids_to_cl100k(tokenizer: Tokenizer) -> None:
    """The same bytes in the same order; the end of text has the last id."""
    assert len(tokenizer.originals) == tokenizer.vocab_size == len({*tokenizer.originals})
    assert [*tokenizer.originals] == sorted(tokenizer.originals)
    assert [tokenizer.piece(id) for id in range(tokenizer.vocab_size)] == [
        whole().piece(id) for id in tokenizer.originals
    ]
    assert (tokenizer.end_of_text, tokenizer.originals[-1]) == (tokenizer.vocab_size - 1, whole().end_of_text)


def merges(piece: bytes) -> set[bytes]:
    """The tokens that byte-pair encoding merges to form a token, by the plain loop."""
    ranks = {whole().piece(id): id for id in range(100_256)}
    parts, found = [bytes([value]) for value in piece], {piece}
    while len(parts) > 1:
        rank, at = min(
            (ranks.get(parts[at] + parts[at + 1], 10**9), at) for at in range(len(parts) - 1)
        )  # the lowest rank, the first of equals
        assert rank < 10**9
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        found.add(parts[at])
    return found


def test_the_vocabulary_is_bytes_used_tokens_and_their_merges() -> None:
    text = "antidisestablishmentarianism in oat milk 字"
    tokenizer = cut(text)
    used = {whole().piece(id) for id in whole().encode(text)}
    wanted = {bytes([value]) for value in range(256)}.union(*(merges(piece) for piece in used))
    assert {tokenizer.piece(id) for id in range(tokenizer.vocab_size - 1)} == wanted
    assert not used <= {bytes([value]) for value in range(256)}


def test_without_used_tokens_only_bytes_remain() -> None:
    tokenizer = prune.prune(whole(), [], "none")
    assert tokenizer.vocab_size == 257
    assert sorted(tokenizer.piece(id) for id in range(256)) == [bytes([value]) for value in range(256)]


@EXACT
@given(text=TEXTS)
def test_any_text_can_be_encoded(text: str) -> None:
    """Text outside the corpus decodes to itself, and no id is out of range."""
    tokenizer = prune.from_ids(whole(), USED, "cut")
    ids = tokenizer.encode(text)
    assert tokenizer.text(ids) == text
    assert all(0 <= id < tokenizer.vocab_size - 1 for id in ids)


@EXACT
@given(text=TEXTS)
def test_any_text_keeps_its_tokens_in_its_own_vocabulary(text: str) -> None:
    """A vocabulary pruned to a text encodes it as cl100k does."""
    tokenizer = cut(text)
    assert [tokenizer.originals[id] for id in tokenizer.encode(text)] == whole().encode(text)


def test_the_end_of_text_is_always_in_the_vocabulary() -> None:
    """Once, and plain text without `special`."""
    tokenizer = prune.prune(whole(), whole().encode("a<|endoftext|>b", special=True), "ends")
    assert tokenizer.vocab_size == 257
    assert tokenizer.encode("<|endoftext|>", special=True) == [256]
    assert 256 not in tokenizer.encode("<|endoftext|>")


def test_the_same_ids_give_the_same_object() -> None:
    """So models that share it can be compared. Another name or text gives another object."""
    assert cut("oat milk") is cut("oat milk milk") is prune.from_ids(whole(), cut("oat milk").originals[:-1], "cut")
    assert cut("oat milk", "another") is not cut("oat milk") is not cut("soy milk")
