"""What is learned: a text read in parts against the whole of it, the order of its sequences, texts that are none."""

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
from core.training.measure import MEASURED
from core.training.text import Text
from core.world import tiny
from core.world.machine import Edge

EXACT = settings(derandomize=True, database=None, deadline=None, max_examples=150)
PART = 64
LONG = 4096


def recipe(path: Path | str, context: int = 4, **more: object) -> Recipe:
    return Recipe(rung="model1", text=str(path), changes=Hyperparameters(context=context), **more)  # type: ignore[arg-type]


def read(path: Path, context: int = 4, **more: object) -> Text:
    *readings, found = text.read_text(recipe(path, context, **more))
    assert isinstance(found, Text)
    size = path.stat().st_size
    done = [reading.done for reading in readings if isinstance(reading, Progress)]
    assert len(done) == len(readings)
    assert done == sorted(done)
    assert (done[-1], {each.total for each in readings if isinstance(each, Progress)}) == (size, {size})
    return found


def all_ids(found: Text) -> list[int]:
    """What is learned, and what is kept to be measured on."""
    return [*found._data.ids.tolist(), *found._validation.tolist()]


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
    "CJK without a line": "我喜欢在咖啡里加燕麦奶" * 80,
    "no spaces": "oatmilk" * 300,
    "CRLF": "I prefer oat milk.\r\n\r\nShe does not.\r\n" * 40,
    "CR alone": "I prefer oat milk.\r\rShe does not.\r" * 40,
    "long blanks": ("a" + " " * 150 + "b" + "\n" * 130 + "c" + " \n\t" * 40) * 5,
    "blanks at the ends of lines": "a word  \n   \n\t\tand more \n \n" * 40,
    "other blanks": "word\xa0\xa0 word\n\xa0\nword \u2003word\u2028 \u2029\nword\x85\n\x0b\n\x0c\x1cword\n\u2009" * 20,
    "emoji": "👩‍👩‍👧‍👦 👩🏽‍🚀\n🏳️‍🌈 don't we'll 1234567890\n" * 30,
    "special text": "<|endoftext|> a <|fim_prefix|>\n" * 40,
    "code": "def f(x):\n    return {'a': [x, \"y\"]}  # no\n\n\n" * 40,
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("vocabulary", ["cl100k", "cut", "bytes"])
def test_a_text_read_in_parts_is_the_whole_text(
    name: str, vocabulary: str, written: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Token by token, wherever the parts end: at 64 bytes, and at every place of the first hundreds."""
    whole = TEXTS[name]
    path = written(whole.encode())
    words = tokenizers.load_tokenizer("bytes" if vocabulary == "bytes" else "cl100k")
    monkeypatch.setattr(text, "LONG", LONG)
    for part in (PART, *range(97, 109)) if vocabulary == "cl100k" else (PART,):
        monkeypatch.setattr(text, "PART", part)
        found = read(path, vocabulary=vocabulary)
        ids = all_ids(found)
        if vocabulary == "cut":
            ids = [found.tokenizer.originals[id] for id in ids]
        assert ids == words.encode(whole)
        assert found.sha256 == hashlib.sha256(whole.encode()).hexdigest()
        assert found.words == "text.txt"


@EXACT
@given(parts=st.lists(st.sampled_from([" ", "\n", "\r", "\t", "a", "b1", ".", "'s", "字", "\u3000", "\xa0", "😀"])))
def test_so_it_is_of_texts_that_nobody_thought_of(parts: list[str]) -> None:
    """Every place that a part may end at falls between two tokens."""
    whole = "".join(parts)
    data, words = whole.encode(), tokenizers.load_tokenizer("cl100k")
    for end in range(len(data) + 1):
        if cut := text._last_gap(data[:end]):
            halves = data[:cut].decode(), data[cut:].decode()
            assert [*words.encode(halves[0]), *words.encode(halves[1])] == words.encode(whole)


def test_a_text_without_any_gap_is_cut_between_characters(
    written: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing parts it for long, no more is held in memory, and no character is lost."""
    monkeypatch.setattr(text, "PART", PART)
    monkeypatch.setattr(text, "LONG", 4 * PART)
    whole = "字母" * 500
    found = read(written(whole.encode()))
    assert found.tokenizer.text(all_ids(found)) == whole
    assert max(len(part.encode()) for part in text._parts(written(whole.encode()))) <= 5 * PART


def test_a_long_text_takes_little_memory(written: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """2 MB are read with a quarter of them as Python's own objects at once: numbers are kept, not lists."""
    monkeypatch.setattr(text, "PART", 2**14)
    path = written((REFERENCE * (2_000_000 // len(REFERENCE))).encode())
    tokenizers.load_tokenizer("cl100k").encode("warm")
    tracemalloc.start()
    try:
        parts = sum(1 for _ in text._parts(path))
        assert tracemalloc.get_traced_memory()[1] < 500_000
        tracemalloc.reset_peak()
        found = read(path, vocabulary="bytes")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    count = len(all_ids(found))
    assert parts > 100
    assert count == path.stat().st_size
    assert peak < 4 * count * 1.125 + 2_500_000  # four bytes a number, and what an array grows ahead


# The order of learning -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stride", "count"), [(1, 7), (3, 4), (5, 16)])
def test_each_sequence_comes_once_an_epoch(written: Callable[[bytes], Path], stride: int, count: int) -> None:
    """Whatever the batch, in an order that differs from epoch to epoch and is the same for the same seed."""
    length = 5
    path = written(bytes(range(33, 127)) * 2)
    found = read(path, context=length, vocabulary="bytes", stride=stride, seed=3)
    learned = found._data.ids.tolist()
    sequences = [tuple(learned[at : at + length + 1]) for at in range(0, len(learned) - length, stride)]
    rows = [tuple(row) for step in range(len(sequences)) for row in found.batch(step, count, length).tolist()]
    epochs = [rows[at : at + len(sequences)] for at in range(0, len(rows), len(sequences))]
    assert len(epochs) == count
    for epoch in epochs:
        assert Counter(epoch) == Counter(sequences)
    assert epochs[0] != epochs[1] != sequences
    again = read(path, context=length, vocabulary="bytes", stride=stride, seed=3)
    assert torch.equal(again.batch(9, count, length), found.batch(9, count, length))
    other = read(path, context=length, vocabulary="bytes", stride=stride, seed=4)
    assert not torch.equal(other.batch(0, 16, length), found.batch(0, 16, length))


def test_no_batch_holds_what_is_measured(written: Callable[[bytes], Path]) -> None:
    """The end of a text is kept: a tenth of it, or a sequence where that is longer; no target of a batch is in it."""
    for length, size, kept in ((4, 1000, 100), (40, 200, 41), (4, 200_000, 2 * MEASURED)):
        data = bytes(32 + n * n % 91 for n in range(size))
        found = read(written(data), context=length, vocabulary="bytes")
        assert found._validation.tolist() == [*data[-kept:]]
        assert found._data.ids.tolist() == [*data[:-kept]]
        assert found._validation.dtype == torch.int64
        assert found.floors is None


# What is no text -----------------------------------------------------------------------------------------------------


def refusal(path: Path | str, **more: object) -> str:
    with pytest.raises(UserError) as mistake:
        list(text.read_text(recipe(path, **more)))  # type: ignore[arg-type]
    assert len(str(mistake.value).splitlines()) == 1
    return str(mistake.value)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"", "is empty"),
        (b"short", "too few"),
        (b"ol\xe9 " * 50, "its byte 3 is none"),
        (b"a" * 200 + b"\n" + b"b" * 99 + b"\xff", "its byte 301 is none"),
        (b"a word " * 50 + b"\0more", "its byte 351 is 0"),
        (b"whole words " * 50 + "字".encode()[:2], "its byte 601 is none"),
        (b"\xff\xfeo\0a\0t\0", "its byte 1 is none"),
        (b" ", "too few"),
    ],
)
def test_what_cannot_be_learned_is_one_clear_line(
    data: bytes, wanted: str, written: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the byte that is wrong, in whichever part it lies."""
    path = written(data)
    monkeypatch.setattr(text, "PART", 32)
    said = refusal(path)
    assert wanted in said
    assert path.name in said


def test_so_is_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no text file" in refusal(tmp_path / "none.txt")
    assert "is not a text file" in refusal(tmp_path)
    assert "cannot be read" in refusal(tmp_path / ("x" * 300))
    path = tmp_path / "large.txt"
    path.write_text("oat milk " * 100)
    monkeypatch.setattr(source, "LARGEST", 899)
    assert "train on a part of it" in refusal(path)
    monkeypatch.setattr(source, "LARGEST", 900)
    assert read(path).words == "large.txt"


def test_the_context_that_a_short_text_has_is_told(written: Callable[[bytes], Path]) -> None:
    """The largest that is named is taken, one more is not."""
    path = written(bytes(range(40, 80)))
    assert "--context of at most 19" in refusal(path, context=20, vocabulary="bytes")
    assert len(all_ids(read(path, context=19, vocabulary="bytes"))) == 40


# The tiny world ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=7)


def test_a_walk_of_many_texts_is_the_machines(world: World) -> None:
    """Each row goes from state to state by the same numbers as the machine alone does."""
    machine, count, length = tiny.machine(), 16, 200
    found = world.walker.walk(torch.zeros(count, dtype=torch.int64), length, torch.Generator().manual_seed(5))
    numbers = torch.rand(length, count, 1, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    for row in range(count):
        state, said = 0, list[int]()
        for u in numbers[:, row, 0].tolist():
            through, edge = 0.0, machine.edges[state][-1]
            for each in machine.edges[state]:
                through += each.share
                if u < through:
                    edge = each
                    break
            said.append(edge.token)
            state = edge.after
        assert found[row].tolist() == said


def test_the_walker_knows_where_a_long_text_stands(world: World) -> None:
    """States by their share of a long text; every state's edges sum to one."""
    machine, walker = tiny.machine(), world.walker
    assert walker.met[-1].item() == pytest.approx(1, abs=1e-12)
    shares = walker.met.diff(prepend=torch.zeros(1, dtype=torch.float64)) * machine.length
    assert torch.allclose(shares, torch.tensor(machine.visits, dtype=torch.float64), atol=1e-12)
    assert (walker.through.diff(dim=1) >= 0).all()
    assert (walker.through[:, -1] == 1).all()


def follow(ids: list[int], states: set[int]) -> set[int]:
    """The states that ids may lead to from one of these."""
    edges = tiny.machine().edges
    for id in ids:
        states = {edge.after for state in states for edge in edges[state] if edge.token == id}
    return states


def test_batches_of_the_world_are_its_texts(world: World) -> None:
    """Every fourth row begins with the end of a text, every fourth with a text, the others anywhere."""
    batch = world.batch(3, 16, 40)
    assert batch.shape == (16, 41)
    anywhere = set(range(len(tiny.machine().edges)))
    for row, ids in enumerate(batch.tolist()):
        if row % 4 == 0:
            assert ids[0] == world.tokenizer.end_of_text
            assert follow(ids[1:], {0})
        else:
            assert world.tokenizer.end_of_text not in ids
            assert follow(ids, {0} if row % 4 == 1 else anywhere)
    assert sum(bool(follow(ids, {0})) for ids in world.batch(5, 64, 40)[2::4].tolist()) < 8


def test_batches_of_the_world_depend_on_seed_and_step_alone(world: World) -> None:
    """The same ones again, and no other step's or seed's, wherever seeds and steps lie side by side."""
    batch = world.batch(3, 8, 40)
    assert torch.equal(world.batch(3, 8, 40), batch)
    other = copy(world)
    for other.seed in (0, 6, 7, 8, 7 + 2**30):
        for step in (0, 2, 3, 4):
            assert torch.equal(other.batch(step, 8, 40), batch) is ((other.seed, step) == (7, 3))


def test_the_world_is_measured_on_a_text_of_its_own(world: World) -> None:
    """One of the machine that no seed chooses, with its floors."""
    wanted: list[Edge] = list(islice(tiny.machine().run(-1), 2 * MEASURED))
    assert world._held.ids.tolist() == [edge.token for edge in wanted]
    assert world.floors == tiny.machine().floors()
    assert world.sha256 == tiny.sha256()
