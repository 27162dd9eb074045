"""A session file and its journal together hold the walk after each thing that happened to it."""

import json
import random
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_tree import Plain
from records import Small
from tree_operations import KINDS, act
from walks import PROMPT, started

from core.activations.patch import Patch
from core.errors import UserError
from core.sampling.sampler import Sampler
from core.sessions import journal, reader, record, writer
from core.sessions.record import Record
from core.walk.session import Session
from core.walk.tree import Node


class Saved:
    """A walk with its session file, and the journal of that, written at each change."""

    def __init__(self, walk: Session, path: Path) -> None:
        self.walk, self.path = walk, path
        self.fold()

    def fold(self) -> None:
        """Write the session file anew."""
        numbers, digests = dict[Node, int](), list[str]()
        self.walk.tree.take_changes()
        writer.write_record(self.path, record.copy(self.walk)(numbers), digests.append)
        self.lines = journal.JournalLines(digests[0], numbers)
        self.journal = journal.journal_path(self.path, digests[0])
        for left in self.path.parent.glob("*.journal"):
            left.unlink()
        self.journal.write_bytes(self.lines.first())

    def note(self) -> None:
        """Append what has changed."""
        entry = journal.entry(self.walk, self.walk.tree.take_changes())
        with self.journal.open("ab") as file:
            file.write(self.lines.line(entry))

    def read(self) -> tuple[Record, list[str]]:
        notes = list[str]()
        return reader.read_record(self.path, notes.append), notes


def contents(walk: Record) -> tuple[Any, ...]:
    """What a record holds; each token by its way from the root, as the order of siblings may differ."""
    ways: dict[int, tuple[Any, ...]] = {0: ()}
    nodes = {}
    for number, row in enumerate(walk.rows, start=1):
        way = ways[number] = (*ways[row.parent], (row.token.id, row.token.origin == "prompt"))
        nodes[way] = row.token, row.name, row.folded, row.latest, row.text
    return nodes, ways[walk.end], walk.cursor, walk.model, walk.sampler, walk.patches, walk.question


@pytest.fixture
def saved(small: Small, tmp_path: Path) -> Saved:
    walk = started(small("model5"))
    walk.step()
    return Saved(walk, tmp_path / "walk.json")


@settings(derandomize=True, database=None, deadline=None, max_examples=3)
@given(seed=st.integers(0, 2**32))
def test_any_change_is_in_the_journal(seed: int, small: Small, tmp_path_factory: Any) -> None:
    chance = random.Random(seed)
    walk, plain = started(small("model5"), PROMPT, Sampler.of(top_k=2)), Plain()
    plain.prefill(PROMPT)
    saved = Saved(walk, tmp_path_factory.mktemp("saved") / "walk.json")
    for number in range(150):
        act(walk, plain, chance.choice(KINDS), chance)
        saved.note()
        if number % 5 == 0:
            read, notes = saved.read()
            assert contents(read) == contents(record.record_of(walk))
            assert notes == []
        if chance.random() < 0.05:
            saved.fold()


def test_patches_and_scores_are_in_the_journal(saved: Saved) -> None:
    walk = saved.walk
    list(walk.generate(3))
    saved.note()
    list(walk.patch([Patch(kind="zero", part="attention", layer=0)]))
    saved.note()
    assert contents(saved.read()[0]) == contents(record.record_of(walk))
    list(walk.score())
    saved.note()
    assert contents(saved.read()[0]) == contents(record.record_of(walk))
    assert all(token.score for token in saved.read()[0].path()[1:])
    list(walk.patch(()))  # other tests have this model too


def test_a_branch_that_comes_back_beside_its_like_is_saved(saved: Saved) -> None:
    """Deleted, sampled once more, then both undone: the tree has it twice, the file once, with what follows either."""
    walk = saved.walk
    walk.travel(3)
    walk.take(65)
    walk.take(66)
    head = next(node for node in walk.tree.nodes.values() if node.token.id == 65)
    list(walk.delete(head.serial))
    walk.travel(3)
    walk.take(65)
    walk.take(67)
    saved.note()
    for _ in range(3):
        walk.take_back()
    saved.note()
    assert contents(saved.read()[0]) == contents(record.record_of(walk))
    saved.fold()
    assert contents(saved.read()[0]) == contents(record.record_of(walk))
    texts = {b"".join(piece) for piece in _texts(saved.read()[0])}
    assert {b"oatAB", b"oatAC"} <= texts


def _texts(walk: Record) -> list[list[bytes]]:
    texts = [list[bytes]()]
    for row in walk.rows:
        texts.append([*texts[row.parent], row.token.piece])
    return texts


# Damage ---------------------------------------------------------------------------------------------------------------


def grown(saved: Saved) -> list[Record]:
    """The record after each of three steps."""
    states = []
    for _ in range(3):
        saved.walk.step()
        saved.note()
        states.append(saved.read()[0])
    return states


def test_a_cut_last_line_is_left_out_with_a_word(saved: Saved) -> None:
    states, whole = grown(saved), saved.journal.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    for size in (1, 2, 9, last // 2, last - 1):
        saved.journal.write_bytes(whole[:-size])
        read, notes = saved.read()
        assert contents(read) == contents(states[1])
        assert notes == [f"the last line of {saved.journal.name} is damaged and is left out"]


def test_a_damaged_line_ends_the_journal_with_a_word(saved: Saved) -> None:
    states, lines = grown(saved), saved.journal.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"cursor":6', b'"cursor":1')
    saved.journal.write_bytes(b"".join(lines))
    read, notes = saved.read()
    assert contents(read) == contents(states[0])
    assert notes == [f"line 3 of {saved.journal.name} is damaged; it and those after it are left out"]


def line(values: Any) -> bytes:
    """A line of a journal with a right checksum."""
    text = json.dumps(values).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def with_entry(saved: Saved, values: Any) -> list[str]:
    """What is said of a journal with this entry at its end; the walk must be that of the session file."""
    before = reader.parse_record(saved.path.read_text("utf-8"), "walk.json")
    saved.journal.write_bytes(saved.lines.first() + line(values))
    read, notes = saved.read()
    assert read == before
    return notes


NODE = {"node": 5, "parent": 4, "id": 66, "origin": "chosen"}
WRONG = {
    "no object": 3,
    "nodes that are a number": {"nodes": 3},
    "a node that is none": {"nodes": [7]},
    "a node without a number": {"nodes": [{**NODE, "node": "x"}]},
    "an unknown parent": {"nodes": [{**NODE, "parent": 9}], "pieces": {"66": "42"}},
    "its own parent": {"nodes": [{**NODE, "parent": 5}], "pieces": {"66": "42"}},
    "another parent than before": {"nodes": [{**NODE, "node": 2, "parent": 4}], "pieces": {"66": "42"}},
    "an id that is a list": {"nodes": [{**NODE, "id": [1]}]},
    "an id outside V": {"nodes": [{**NODE, "id": 10**6}], "pieces": {"1000000": "42"}},
    "a sampler that is not there": {"nodes": [{**NODE, "sampler": 3}], "pieces": {"66": "42"}},
    "a place that is none": {"place": {"node": 77, "cursor": 1}},
    "a place that is text": {"place": "here"},
    "a cursor beyond the end": {"place": {"node": 4, "cursor": 9}},
    "the end of the walk cut": {"nodes": [{"node": 4, "cut": True}]},
    "everything cut": {"nodes": [{"node": 1, "cut": True}]},
    "a model that is not there": {"model": 2},
    "models that are none": {"models": [1]},
    "samplers that are text": {"samplers": "temp=1"},
    "pieces that are none": {"pieces": [1]},
    "a sampler that is none": {"sampler": {"stages": "hot"}},
    "patches that are none": {"patches": {}},
    "a flag that is none": {"scores_forgotten": 1},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_journal_with_a_wrong_value_is_left_out_with_a_word(saved: Saved, name: str) -> None:
    (note,) = with_entry(saved, WRONG[name])
    assert note.startswith(f"{saved.journal.name} is left out: ")
    assert "\n" not in note


@pytest.fixture(scope="module")
def one(small: Small, tmp_path_factory: Any) -> Saved:
    walk = started(small("model5"))
    walk.step()
    return Saved(walk, tmp_path_factory.mktemp("saved") / "walk.json")


@settings(derandomize=True, database=None, deadline=None, max_examples=100)
@given(content=st.binary(max_size=300), at=st.integers(0, 200), kind=st.sampled_from(["alone", "after", "before"]))
def test_no_bytes_of_a_journal_are_an_exception(content: bytes, at: int, kind: str, one: Saved) -> None:
    whole = one.lines.first() + line({"place": {"node": 4, "cursor": 2}, "nodes": [NODE], "pieces": {"66": "42"}})
    one.journal.write_bytes({"alone": content, "after": whole[:at] + content, "before": content + whole[at:]}[kind])
    assert len(one.read()[0].rows) in (4, 5)


@pytest.mark.parametrize(
    ("first", "word"),
    [
        ({"format": "another"}, "format"),
        ({"format": journal.FORMAT, "version": 2}, "newer tokenwalk"),
        ({"format": journal.FORMAT, "version": 1, "session": "ab"}, "another state"),
    ],
)
def test_a_foreign_journal_is_left_out_with_a_word(saved: Saved, first: dict[str, Any], word: str) -> None:
    saved.journal.write_bytes(line(first) + line({"place": {"node": 1, "cursor": 1}}))
    read, (note,) = saved.read()
    assert read.end == 4
    assert word in note


def test_a_journal_of_an_edited_file_is_left_out(saved: Saved) -> None:
    """It belongs to other bytes."""
    grown(saved)
    saved.path.write_text(saved.path.read_text("utf-8") + "\n")
    read, notes = saved.read()
    assert len(read.path()) == 4
    assert notes == [f"{saved.journal.name} is left out: it belongs to another state of the session"]


def test_a_journal_that_is_no_file_is_left_out(saved: Saved) -> None:
    saved.journal.unlink()
    saved.journal.mkdir()
    assert "folder" in saved.read()[1][0]


def test_a_damaged_session_is_refused_whatever_its_journal_says(saved: Saved) -> None:
    saved.path.write_text(saved.path.read_text("utf-8").replace('"origin": "sampled"', '"origin": "guessed"'))
    with pytest.raises(UserError, match="origin"):
        saved.read()


def test_half_a_surrogate_pair_in_a_journal_is_replaced(saved: Saved) -> None:
    saved.walk.tree.rename(4, "\ud800x")
    saved.note()
    assert saved.read()[0].rows[3].name == "\ufffdx"


def test_the_number_of_a_model_follows_those_of_the_file(saved: Saved, small: Small) -> None:
    """Another model of the same name goes on with the walk; draws keep the model that made them."""
    other = saved.walk.moved_to(small("model6"))
    saved.walk = other
    other.step()
    saved.note()
    read = saved.read()[0]
    assert contents(read) == contents(record.record_of(other))
    assert [token.model.name for token in read.path()[3:] if token.model] == ["model5", "model6"]
