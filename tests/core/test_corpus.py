"""Corpora: a text read in parts, the order of its sequences, files that are no text, batches of the tiny world."""

import hashlib
import tracemalloc
from collections import Counter
from collections.abc import Callable
from copy import copy
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.loading import tokenizers
from core.loading.checkpoints.recipe import Recipe
from core.loading.choice import Hyperparameters
from core.progress import Progress
from core.training import source, text
from core.training.corpus import World
from core.training.dataset import REFERENCE
from core.training.measure import HELD_OUT_PREDICTIONS
from core.training.text import Text
from core.world import tiny
from core.world.automaton import Edge

EXACT = settings(derandomize=True, database=None, deadline=None, max_examples=150)
PART = 64
LONGEST_RUN = 4096


def recipe(path: Path | str, context: int = 4, **more: object) -> Recipe:
    return Recipe(rung="model1", text=str(path), changes=Hyperparameters(context=context), **more)  # type: ignore[arg-type]


def read(path: Path, context: int = 4, **more: object) -> Text:
    """The corpus of a file. Its progress must count up to the file's size."""
    *steps, corpus = text.read_text(recipe(path, context, **more))
    assert isinstance(corpus, Text)
    size = path.stat().st_size
    done = [step.done for step in steps if isinstance(step, Progress)]
    assert len(done) == len(steps)
    assert done == sorted(done)
    assert (done[-1], {step.total for step in steps if isinstance(step, Progress)}) == (size, {size})
    return corpus


def all_ids(corpus: Text) -> list[int]:
    """The ids to train on, then the held-out ones."""
    return [*corpus._sequences.ids.tolist(), *corpus._held_out.tolist()]


@pytest.fixture
def written(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "text.txt"
        path.write_bytes(data)
        return path

    return write


# Parts ---------------------------------------------------------------------------------------------------------------

TEXTS = {
    "prose": REFERENCE * 2,
    "lines of CJK": "我喜欢在咖啡里加燕麦奶。\n日本語の文章です。\n" * 60,
    "CJK indented": "\n\u3000\u3000我喜欢咖啡。\n\u3000\n\u3000\n\u3000\u3000再见。" * 40,
    "CJK without a newline": "我喜欢在咖啡里加燕麦奶" * 80,
    "no spaces": "oatmilk" * 300,
    "CRLF": "I prefer oat milk.\r\n\r\nShe does not.\r\n" * 40,
    "CR alone": "I prefer oat milk.\r\rShe does not.\r" * 40,
    "long whitespace": ("a" + " " * 150 + "b" + "\n" * 130 + "c" + " \n\t" * 40) * 5,
    "trailing spaces": "a word  \n   \n\t\tand more \n \n" * 40,
    "whitespaces": "word\xa0\xa0 word\n\xa0\nword \u2003word\u2028 \u2029\nword\x85\n\x0b\n\x0c\x1cword\n\u2009" * 20,
    "emoji": "👩‍👩‍👧‍👦 👩🏽‍🚀\n🏳️‍🌈 don't we'll 1234567890\n" * 30,
    "special tokens as text": "<|endoftext|> a <|fim_prefix|>\n" * 40,
    "code": "def f(x):\n    return {'a': [x, \"y\"]}  # no\n\n\n" * 40,
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("vocabulary", ["cl100k", "cut", "bytes"])
def test_a_text_read_in_parts_has_the_tokens_of_the_whole(
    name: str, vocabulary: str, written: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For parts of 64 bytes, and of each size from 97 to 108."""
    whole = TEXTS[name]
    path = written(whole.encode())
    tokenizer = tokenizers.load_tokenizer("bytes" if vocabulary == "bytes" else "cl100k")
    monkeypatch.setattr(text, "LONGEST_RUN", LONGEST_RUN)
    for part in (PART, *range(97, 109)) if vocabulary == "cl100k" else (PART,):
        monkeypatch.setattr(text, "PART", part)
        corpus = read(path, vocabulary=vocabulary)
        ids = all_ids(corpus)
        if vocabulary == "cut":
            ids = [corpus.tokenizer.originals[id] for id in ids]
        assert ids == tokenizer.encode(whole)
        assert corpus.sha256 == hashlib.sha256(whole.encode()).hexdigest()
        assert corpus.name == "text.txt"


@EXACT
@given(parts=st.lists(st.sampled_from([" ", "\n", "\r", "\t", "a", "b1", ".", "'s", "字", "\u3000", "\xa0", "😀"])))
def test_every_boundary_is_between_two_tokens(parts: list[str]) -> None:
    """For generated texts, and for each number of bytes that were read."""
    whole = "".join(parts)
    data, tokenizer = whole.encode(), tokenizers.load_tokenizer("cl100k")
    for end in range(len(data) + 1):
        if cut := text._last_boundary(data[:end]):
            halves = data[:cut].decode(), data[cut:].decode()
            assert [*tokenizer.encode(halves[0]), *tokenizer.encode(halves[1])] == tokenizer.encode(whole)


def test_a_text_without_any_boundary_is_cut_between_characters(
    written: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes in memory stay bounded, and no character is lost."""
    monkeypatch.setattr(text, "PART", PART)
    monkeypatch.setattr(text, "LONGEST_RUN", 4 * PART)
    whole = "字母" * 500
    corpus = read(written(whole.encode()))
    assert corpus.tokenizer.text(all_ids(corpus)) == whole
    assert max(len(part.encode()) for part in text._parts(written(whole.encode()))) <= 5 * PART


def test_a_long_text_needs_little_memory(written: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading 2 MB holds less than 0.5 MB of Python objects at once; ids are kept as 4 bytes each, not as lists."""
    monkeypatch.setattr(text, "PART", 2**14)
    path = written((REFERENCE * (2_000_000 // len(REFERENCE))).encode())
    tokenizers.load_tokenizer("cl100k").encode("warm")
    tracemalloc.start()
    try:
        parts = sum(1 for _ in text._parts(path))
        assert tracemalloc.get_traced_memory()[1] < 500_000
        tracemalloc.reset_peak()
        corpus = read(path, vocabulary="bytes")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    count = len(all_ids(corpus))
    assert parts > 100
    assert count == path.stat().st_size
    assert peak < 4 * count * 1.125 + 2_500_000  # 4 bytes per id, and what an array allocates ahead


# The order of sequences ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stride", "count"), [(1, 7), (3, 4), (5, 16)])
def test_each_sequence_comes_once_per_epoch(written: Callable[[bytes], Path], stride: int, count: int) -> None:
    """For any batch size. The order differs between epochs, and is the same for the same seed."""
    length = 5
    path = written(bytes(range(33, 127)) * 2)
    corpus = read(path, context=length, vocabulary="bytes", stride=stride, seed=3)
    ids = corpus._sequences.ids.tolist()
    sequences = [tuple(ids[at : at + length + 1]) for at in range(0, len(ids) - length, stride)]
    rows = [tuple(row) for step in range(len(sequences)) for row in corpus.batch(step, count, length).tolist()]
    epochs = [rows[at : at + len(sequences)] for at in range(0, len(rows), len(sequences))]
    assert len(epochs) == count
    for epoch in epochs:
        assert Counter(epoch) == Counter(sequences)
    assert epochs[0] != epochs[1] != sequences
    again = read(path, context=length, vocabulary="bytes", stride=stride, seed=3)
    assert torch.equal(again.batch(9, count, length), corpus.batch(9, count, length))
    other = read(path, context=length, vocabulary="bytes", stride=stride, seed=4)
    assert not torch.equal(other.batch(0, 16, length), corpus.batch(0, 16, length))


def test_the_end_of_a_text_is_held_out(written: Callable[[bytes], Path]) -> None:
    """A tenth of it, or one sequence where that is longer, or 2 · 4096 tokens where that is shorter."""
    for length, size, held_out in ((4, 1000, 100), (40, 200, 41), (4, 200_000, 2 * HELD_OUT_PREDICTIONS)):
        data = bytes(32 + n * n % 91 for n in range(size))
        corpus = read(written(data), context=length, vocabulary="bytes")
        assert corpus._held_out.tolist() == [*data[-held_out:]]
        assert corpus._sequences.ids.tolist() == [*data[:-held_out]]
        assert corpus._held_out.dtype == torch.int64
        assert corpus.floors is None


# Wrong files ---------------------------------------------------------------------------------------------------------


def refusal(path: Path | str, **more: object) -> str:
    """The text of the error for a file that cannot be trained on."""
    with pytest.raises(UserError) as error:
        list(text.read_text(recipe(path, **more)))  # type: ignore[arg-type]
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"short", "too few"),
        (b"ol\xe9 " * 50, "not UTF-8 text (its byte 3 is invalid)"),
        (b"a" * 200 + b"\n" + b"b" * 99 + b"\xff", "not UTF-8 text (its byte 301 is invalid)"),
        (b"a word " * 50 + b"\0more", "its byte 351 is 0"),
        (b"whole words " * 50 + "字".encode()[:2], "not UTF-8 text (its byte 601 is invalid)"),
        (b"\xff\xfeo\0a\0t\0", "not UTF-8 text (its byte 1 is invalid)"),
        (b" ", "too few"),
    ],
)
def test_a_file_without_enough_utf8_text_is_a_user_error(
    data: bytes, message: str, written: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the first wrong byte, counted from 1, in whichever part that is."""
    path = written(data)
    monkeypatch.setattr(text, "PART", 32)
    error = refusal(path)
    assert message in error
    assert path.name in error


def test_a_missing_or_too_large_file_or_a_folder_is_a_user_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "there is no text file" in refusal(tmp_path / "none.txt")
    assert "is not a text file" in refusal(tmp_path)
    assert "cannot be read" in refusal(tmp_path / ("x" * 300))
    path = tmp_path / "large.txt"
    path.write_text("oat milk " * 100)
    monkeypatch.setattr(source, "MAX_BYTES", 899)
    assert "use a part of it" in refusal(path)
    monkeypatch.setattr(source, "MAX_BYTES", 900)
    assert read(path).name == "large.txt"


def test_the_error_for_a_short_text_names_the_largest_context(written: Callable[[bytes], Path]) -> None:
    """That context can be trained on; one more cannot."""
    path = written(bytes(range(40, 80)))
    assert "set option context to 19 or less" in refusal(path, context=20, vocabulary="bytes")
    assert len(all_ids(read(path, context=19, vocabulary="bytes"))) == 40


# The tiny world ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=7)


def test_batched_samples_equal_those_of_the_automaton(world: World) -> None:
    """With the same uniform numbers, each row has the same tokens as one that follows the automaton's edges."""
    automaton, count, length = tiny.automaton(), 16, 200
    batch = world.batched.sample(torch.zeros(count, dtype=torch.int64), length, torch.Generator().manual_seed(5))
    uniform = torch.rand(length, count, 1, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    for row in range(count):
        state, tokens = 0, list[int]()
        for u in uniform[:, row, 0].tolist():
            cumulative, edge = 0.0, automaton.edges[state][-1]
            for each in automaton.edges[state]:
                cumulative += each.probability
                if u < cumulative:
                    edge = each
                    break
            tokens.append(edge.token)
            state = edge.next_state
        assert batch[row].tolist() == tokens


def test_batched_probabilities_are_cumulative(world: World) -> None:
    """Those of the states at a random position, and those of the edges of each state."""
    automaton, batched = tiny.automaton(), world.batched
    assert batched.stationary[-1].item() == pytest.approx(1, abs=1e-12)
    visits = batched.stationary.diff(prepend=torch.zeros(1, dtype=torch.float64)) * automaton.mean_length
    assert torch.allclose(visits, torch.tensor(automaton.visits, dtype=torch.float64), atol=1e-12)
    assert (batched.cumulative.diff(dim=1) >= 0).all()
    assert (batched.cumulative[:, -1] == 1).all()


def follow(ids: list[int], states: set[int]) -> set[int]:
    """The states that `ids` can lead to from any of `states`."""
    edges = tiny.automaton().edges
    for id in ids:
        states = {edge.next_state for state in states for edge in edges[state] if edge.token == id}
    return states


def test_batches_of_the_world_are_texts_of_the_grammar(world: World) -> None:
    """Row 0 of four begins with <|endoftext|> and a text, row 1 with a text, rows 2 and 3 anywhere."""
    batch = world.batch(3, 16, 40)
    assert batch.shape == (16, 41)
    anywhere = set(range(len(tiny.automaton().edges)))
    for row, ids in enumerate(batch.tolist()):
        if row % 4 == 0:
            assert ids[0] == world.tokenizer.end_of_text
            assert follow(ids[1:], {0})
        else:
            assert world.tokenizer.end_of_text not in ids
            assert follow(ids, {0} if row % 4 == 1 else anywhere)
    assert sum(bool(follow(ids, {0})) for ids in world.batch(5, 64, 40)[2::4].tolist()) < 8


def test_batches_of_the_world_depend_on_seed_and_step_only(world: World) -> None:
    """Neighboring seeds and steps, and a seed that differs in its high bits only, give other batches."""
    batch = world.batch(3, 8, 40)
    assert torch.equal(world.batch(3, 8, 40), batch)
    other = copy(world)
    for other.seed in (0, 6, 7, 8, 7 + 2**30):
        for step in (0, 2, 3, 4):
            assert torch.equal(other.batch(step, 8, 40), batch) is ((other.seed, step) == (7, 3))


def test_the_held_out_text_of_the_world_depends_on_no_seed(world: World) -> None:
    """It is a sample with the fixed seed -1; the floors are those of the automaton."""
    edges: list[Edge] = list(islice(tiny.automaton().sample(-1), 2 * HELD_OUT_PREDICTIONS))
    assert world._held_out.ids.tolist() == [edge.token for edge in edges]
    assert world.floors == tiny.automaton().floors()
    assert world.sha256 == tiny.sha256()
