"""A saved walk: reading gives what was written, damage gives an error of one line, no crash leaves half a file."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.activations.patch import Patch
from core.errors import Action, UserError
from core.generation.token import Token
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.info import ModelInfo
from core.loading.models import Model
from core.loading.tokenizers import load_tokenizer
from core.sampling.sampler import Sampler
from core.sampling.values import Score
from core.sessions import reader, record, resume, storage, writer
from core.sessions.record import NodeRow, Record
from core.walk.session import Session
from core.walk.tree import Node, Tree

Small = Callable[..., Model]
After = Callable[[Any, Sequence[int]], Any]
INFO = ModelInfo("model1", "zero-layer", 10, 257, 8, "cpu", "fp32", "bytes", "random weights, seed 0", ModelChoice())


def text_of(walk: Record) -> str:
    return "".join(writer.lines(walk))


def again(walk: Record) -> Record:
    """The record after a round trip through JSON, without its time."""
    return replace(reader.parse_record(text_of(walk), "walk.json"), written="", program="")


def plain(**changes: Any) -> Record:
    """A walk of three tokens with a branch."""
    score = Score(0.1, -1.25, 3.5, 7)
    drawn = Token(98, b"b", "sampled", score, 1 / 3, 0.1, 2, Sampler(top_k=5), INFO)
    rows = (
        NodeRow(0, Token(97, b"a"), latest=True, text="a"),
        NodeRow(1, drawn, latest=True),
        NodeRow(2, Token(128, b"\x80", "chosen", score, model=INFO), name="mine", folded=True, latest=True),
        NodeRow(1, replace(drawn, id=99, piece=b"c", u=0.9)),
    )
    return replace(Record(INFO, Sampler(), rows, 3, 2), **changes)


# Round trips ---------------------------------------------------------------------------------------------------------


def shape(tree: Tree) -> list[tuple[Any, ...]]:
    """Everything a tree holds, in the order of creation."""
    found, stack = list[tuple[Any, ...]](), [(tree.root, 0)]
    while stack:
        node, depth = stack.pop()
        latest = node.latest.key if node.latest and not node.latest.cut else None
        found.append((depth, node.token, node.name, node.folded, node.text, latest))
        children = sorted(node.children.values(), key=lambda child: -child.serial)
        stack += [(child, depth + 1) for child in children]
    return found


def way(node: Node) -> list[int]:
    ids = []
    while node.parent is not None:
        ids.append(node.token.id)
        node = node.parent
    return ids[::-1]


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("prefill"), st.lists(st.sampled_from(b"ab\xe5"), max_size=6)),
        st.tuples(st.sampled_from(["step", "step", "redraw", "take_back", "redo", "score", "sample"]), st.just(0)),
        st.tuples(st.just("take"), st.integers(0, 256)),
        st.tuples(st.sampled_from(["travel", "visit", "fold", "rename", "delete"]), st.integers(0, 30)),
        st.tuples(st.just("sampler"), st.integers(0, 3)),
    ),
    max_size=30,
)
KNOBS = [
    Sampler(),
    Sampler(temperature=0),
    Sampler(top_k=3, seed=-1),
    Sampler(temperature=1 / 3, top_p=0.7, seed=2**80),
]


def act(walk: Session, kind: str, value: Any) -> None:
    match kind:
        case "prefill":
            list(walk.prefill(value, bytes(value).decode("utf-8", "replace")))
        case "travel":
            walk.travel(value)
        case "sampler":
            walk.sampler = KNOBS[value]
        case "sample":
            list(walk.continuations(2, 2))
        case "rename":
            walk.tree.rename(value, f"name {value} 字\x1b")
        case "visit" | "delete":
            list(getattr(walk, kind)(value))
        case "score":
            list(walk.score())
        case "take":
            walk.take(value)
        case "fold":
            walk.tree.fold(value)
        case _:
            getattr(walk, kind)()


@settings(derandomize=True, database=None, deadline=None, max_examples=60)
@given(operations=OPERATIONS)
def test_any_walk_is_saved_and_restored(operations: list[tuple[str, Any]], small: Small, after: After) -> None:
    """The same tree and position, and the distribution there equals a fresh forward."""
    model = small("model5")
    walk = Session(model)
    list(walk.prefill([]))
    for kind, value in operations:
        try:
            act(walk, kind, value)
        except UserError:
            continue
    taken = record.record_of(walk)
    read = reader.parse_record(text_of(taken), "walk.json")
    back = resume.session(read, model)
    list(back.read())
    assert shape(back.tree) == shape(walk.tree)
    assert again(read) == replace(taken, written="", program="")
    assert (back.tokens, back.cursor, back.prompt_length) == (walk.tokens, walk.cursor, walk.prompt_length)
    assert (back.sampler, way(back.history.position.end)) == (walk.sampler, way(walk.history.position.end))
    want = after(model.transformer, [token.id for token in walk.tokens][: walk.cursor])
    assert (back.distribution().logits - want).abs().max() < 1e-5
    one, other = walk.step(), back.step()
    assert (one.id, one.u, one.redraw) == (other.id, other.u, other.redraw)


@given(value=st.floats(allow_nan=False, allow_infinity=False, min_value=-1e38, max_value=1e38))
@settings(derandomize=True, database=None, max_examples=200)
def test_floats_are_restored_to_the_last_bit(value: float) -> None:
    score = Score(value, min(value, 0.0), abs(value) % 64, 3)
    walk = plain(rows=(NodeRow(0, Token(97, b"a", score=score)),), end=1, cursor=1)
    assert again(walk).rows[0].token.score == score


def test_a_chosen_token_with_logit_minus_infinity_is_restored() -> None:
    """JSON has no number for its logit, -inf."""
    score = Score(-math.inf, -math.inf, 1.0, 256)
    walk = plain(rows=(NodeRow(0, Token(97, b"a")), NodeRow(1, Token(98, b"b", "chosen", score))), end=2)
    json.loads(text_of(walk), parse_constant=pytest.fail)
    assert again(walk) == walk


def test_another_model_keeps_draws_and_drops_scores(small: Small) -> None:
    walk = Session(small("model5"))
    list(walk.prefill(list(b"oat")))
    list(walk.generate(4))
    other = resume.session(record.record_of(walk), small("model6"))
    assert [t.u for t in other.tokens] == [t.u for t in walk.tokens]
    assert [t.model for t in other.tokens[3:]] == [walk.model.info] * 4
    assert other.unscored()


def test_half_a_surrogate_pair_is_replaced() -> None:
    rows = (NodeRow(0, Token(97, b"a"), name="\ud800x", text="a\udfff"),)
    row = again(plain(rows=rows, end=1, cursor=1)).rows[0]
    assert (row.name, row.text) == ("\ufffdx", "a\ufffd")


def test_several_models_and_samplers_are_restored() -> None:
    other = replace(INFO, name="model2", choice=ModelChoice(changes=Hyperparameters(heads=3, activation="relu")))
    rows = plain().rows
    mixed = (*rows[:3], rows[3]._replace(token=replace(rows[3].token, model=other, sampler=Sampler(seed=9))))
    assert again(plain(rows=mixed)) == plain(rows=mixed)


def test_unknown_names_are_ignored_and_patches_kept() -> None:
    values = json.loads(text_of(plain()))
    values["patches"] = [{"kind": "scale", "part": "mlp", "layer": 3, "factor": 0.5, "mood": {"a": "later"}}]
    values["samplers"] = [{"top_k": 5, "mirostat": 2}]
    values["nodes"][1]["feeling"] = {"mood": "good"}
    values["rumour"] = None
    read = reader.parse_record(json.dumps(values), "walk.json")
    assert read.rows == plain().rows
    assert read.patches == (Patch(kind="scale", part="mlp", layer=3, factor=0.5),)
    assert again(read).patches == read.patches


def test_a_record_knows_its_prompt_and_branches() -> None:
    walk = plain()
    assert (walk.prompt, walk.branches, [token.id for token in walk.path()]) == ("a", 2, [97, 98, 128])
    assert replace(walk, rows=(walk.rows[0]._replace(text=None), *walk.rows[1:])).prompt == "a"


def test_another_tokenizer_is_a_user_error(small: Small) -> None:
    words = small().tokenizer
    plain().check(words)
    rows = (NodeRow(0, Token(97, b"not a")),)
    with pytest.raises(UserError, match="id 97 is 'not a'"):
        plain(rows=rows, end=1, cursor=1).check(words)
    with pytest.raises(UserError, match="cl100k"):
        plain().check(load_tokenizer("cl100k"))


# What is broken ------------------------------------------------------------------------------------------------------


def changed(path: str, value: Any) -> str:
    """The file of a walk with one value changed; `...` removes it."""
    values = json.loads(text_of(plain()))
    at: Any = values
    *way, last = path.split(".")
    for key in way:
        at = at[int(key) if isinstance(at, list) else key]
    if value is ...:
        del at[last]
    else:
        at[int(last) if isinstance(at, list) else last] = value
    return json.dumps(values)


WRONG = {
    "no session": (changed("format", "something"), "format"),
    "newer": (changed("version", 2), "newer"),
    "no version": (changed("version", ...), "version is missing"),
    "version zero": (changed("version", 0), "version"),
    "a version in words": (changed("version", "1"), "version"),
    "no nodes": (changed("nodes", ...), "nodes is missing"),
    "empty": (changed("nodes", []), "nodes is empty"),
    "nodes that are none": (changed("nodes", [3]), "node 1"),
    "an id outside V": (changed("nodes.1.id", 257), "node 2: invalid value for id: 257"),
    "a negative id": (changed("nodes.1.id", -1), "node 2: invalid value for id: -1"),
    "an id without bytes": (changed("pieces.98", ...), "node 2: pieces has no bytes for its id 98"),
    "a piece outside V": (changed("pieces.257", "00"), "'257'"),
    "a piece of words": (changed("pieces.\u0663", "00"), "none of the 257 ids"),
    "a piece that is no hex": (changed("pieces.97", "zz"), "pieces: invalid value for 97: 'zz'"),
    "an id that is true": (changed("nodes.1.id", True), "node 2: invalid value for id: True"),
    "an id that is no whole number": (changed("nodes.1.id", 98.5), "node 2: invalid value for id"),
    "a ring": (changed("nodes.1.parent", 3), "parent 3 does not come before"),
    "its own parent": (changed("nodes.1.parent", 2), "parent 2 does not come before"),
    "a node twice": (changed("nodes.2.node", 2), "two nodes 2"),
    "a sibling twice": (changed("nodes.3.id", 98), "two tokens with the id 98"),
    "a prompt after its end": (changed("nodes.2.origin", "prompt"), "node 3: a token of the prompt"),
    "an unknown origin": (changed("nodes.1.origin", ["sampled"]), "origin"),
    "a place that is nowhere": (changed("place.node", 9), "place: invalid value for node: 9"),
    "a cursor beyond the end": (changed("place.cursor", 4), "invalid value for cursor: 4"),
    "a cursor before all": (changed("place.cursor", 0), "invalid value for cursor: 0"),
    "u of one": (changed("nodes.1.u", 1), "invalid value for u: 1"),
    "u in words": (changed("nodes.1.u", "half"), "invalid value for u: 'half'"),
    "more than certain": (changed("nodes.1.logprob", 800.0), "invalid value for logprob: 800"),
    "a rank beyond V": (changed("nodes.1.rank", 257), "invalid value for rank: 257"),
    "half a score": (changed("nodes.1.rank", ...), "rank is missing"),
    "a sampler that is not there": (changed("nodes.1.sampler", 1), "invalid value for sampler: 1"),
    "a draw without sampler": (changed("nodes.1.sampler", ...), "sampler is missing"),
    "a draw without model": (changed("nodes.1.model", ...), "model is missing"),
    "impossible settings": (changed("sampler.top_p", 3), "top-p must be"),
    "settings in words": (changed("samplers.0.top_k", "five"), "invalid value for top_k: 'five'"),
    "no models": (changed("models", []), "invalid value for model: 0"),
    "a model that is none": (changed("models.0", "model1"), "model 1"),
    "a model without ids": (changed("models.0.vocab_size", 0), "vocab_size"),
    "a choice that is none": (changed("models.0.choice.changes", 7), "changes"),
    "a seed in words": (changed("models.0.choice.weights_seed", "x"), "weights_seed"),
    "an unknown activation": (changed("models.0.choice.changes.activation", "step"), "activation"),
    "a name that is none": (changed("nodes.2.name", 3), "invalid value for name: 3"),
    "patches that are none": (changed("patches", {}), "patches"),
    "a patch of nothing": (changed("patches", [{"kind": "zero", "part": "soul", "factor": 1}]), "soul"),
    "a patch that is no patch": (changed("patches", [{"kind": [], "part": "mlp"}]), "kind"),
    "a list": ("[]", "object"),
    "a number": ("1", "object"),
    "nothing": ("", "ends too early"),
    "infinity": (changed("nodes.1.u", 0.5).replace('"u": 0.5', '"u": Infinity'), "Infinity"),
    "not a number": (changed("nodes.1.u", 0.5).replace('"u": 0.5', '"u": NaN'), "NaN"),
    "beyond floats": (changed("nodes.1.u", 0.5).replace('"u": 0.5', '"u": 1e999'), "invalid value for u: inf"),
    "a huge number": (changed("nodes.1.redraw", 0.5).replace("0.5", "9" * 400), "redraw"),
    "a number longer than Python reads": (changed("nodes.1.redraw", 0.5).replace("0.5", "9" * 5000), "walk.json"),
    "deep nesting": ("[" * 200_000, "nested too deeply"),
    "deep nesting of objects": ('{"a":' * 200_000, "nested too deeply"),
    "an escape in a name": (changed("sampler.order", "\x1b[2J\n"), "order"),
}


@pytest.mark.parametrize("name", WRONG)
def test_each_damage_is_one_line_that_names_the_field(name: str, tmp_path: Path) -> None:
    text, says = WRONG[name]
    path = tmp_path / "walk.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as mistake:
        reader.read_record(path)
    words = str(mistake.value)
    assert says in words
    assert words.startswith("walk.json")
    assert len(words.splitlines()) == 1
    assert len(words) < 300
    assert path.read_text(encoding="utf-8") == text
    assert [entry.name for entry in tmp_path.iterdir()] == ["walk.json"]


def test_a_truncated_file_is_a_user_error() -> None:
    text = text_of(plain())
    for end in range(len(text) - 2):
        with pytest.raises(UserError, match=r"^walk.json is no whole session: line \d+, column \d+: "):
            reader.parse_record(text[:end], "walk.json")


@settings(derandomize=True, database=None, deadline=None, max_examples=300)
@given(data=st.data())
def test_no_edit_of_a_file_crashes(data: st.DataObject) -> None:
    """Any other value gives a walk that can be shown and written, or a `UserError`."""
    values = json.loads(text_of(plain()))
    at: Any = values
    while True:
        keys = list(at) if isinstance(at, dict) else range(len(at))
        key = data.draw(st.sampled_from(keys))
        if not (isinstance(at[key], (dict, list)) and at[key] and data.draw(st.booleans())):
            break
        at = at[key]
    at[key] = data.draw(
        st.sampled_from([None, True, -1, 0, 1, 2**63, 10**300, 0.5, -1e308, "", "x", "-inf", [], {}, [[]], {"": 0}])
    )
    try:
        read = reader.parse_record(json.dumps(values), "walk.json")
    except UserError as mistake:
        assert len(str(mistake).splitlines()) == 1
        return
    assert again(read) == replace(read, written="", program="")
    unavailable = resume.session_without_model(read, UserError("it is not here"))
    assert unavailable.snapshot().chart is None
    assert unavailable.history.forest().rows


def test_what_is_not_a_file_is_a_user_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.json", Path("/dev/zero"), Path("nul\0.json")):
        with pytest.raises(UserError, match=r"is no file|cannot be read"):
            reader.read_record(path)
    (tmp_path / "bytes.json").write_bytes(b'{"format": "\xff"}')
    with pytest.raises(UserError, match="byte 13 is no UTF-8"):
        reader.read_record(tmp_path / "bytes.json")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "walk.json"
    with path.open("wb") as file:
        file.truncate(reader.LARGEST + 1)  # a hole: it takes no room
    with pytest.raises(UserError, match="too large"):
        reader.read_record(path)


# Without its model ---------------------------------------------------------------------------------------------------


def test_a_walk_without_its_model_is_shown_and_computes_nothing(small: Small) -> None:
    walk = Session(small("model5"))
    list(walk.prefill(list(b"oat"), "oat"))
    list(walk.generate(3))
    walk.travel(4)
    walk.step()
    unavailable = resume.session_without_model(record.record_of(walk), UserError("model99 is not on this machine"))
    shot = unavailable.snapshot()
    assert (shot.tokens, shot.cursor, shot.prompt, shot.chart) == (tuple(walk.tokens), 5, "oat", None)
    assert [replace(row, on_path=False) for row in unavailable.history.forest().rows] == [
        replace(row, on_path=False) for row in walk.history.forest().rows
    ]
    list(unavailable.visit(walk.tree.root.children[111, True, 0].serial))
    unavailable.travel(1)
    for refused in (
        unavailable.step,
        lambda: unavailable.take(3),
        lambda: list(unavailable.score()),
        lambda: list(unavailable.generate(2)),
        lambda: list(unavailable.continuations(2, 2)),
        lambda: unavailable.model.tokenizer.encode("x"),
        lambda: unavailable.model.transformer.config,
        unavailable.distribution,
    ):
        with pytest.raises(UserError, match="model99 is not on this machine"):
            refused()
    assert unavailable.unavailable and Action("choose.model") in unavailable.unavailable.parts
    assert not unavailable.worth_keeping()
    assert not unavailable.unscored()
    assert unavailable.goes_on_in(small("model6"))
    onward = unavailable.moved_to(small("model6"))
    assert onward.step().origin == "sampled"


def test_opening_a_session_downloads_nothing() -> None:
    """A file from somebody else must not make this machine download a model."""
    for name in ("openai-community/gpt2-of-nobody", "model99", "./none.gguf"):
        with pytest.raises(UserError):
            resume.model(replace(INFO, choice=ModelChoice(name=name)))
    with pytest.raises(UserError, match="does not say"):
        resume.model(replace(INFO, choice=None))


# Writing -------------------------------------------------------------------------------------------------------------


def test_writing_keeps_permissions_and_follows_links(tmp_path: Path) -> None:
    real, link = tmp_path / "walk.json", tmp_path / "link.json"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    writer.write_record(link, plain())
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert reader.read_record(link).rows == plain().rows
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "walk.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "walk.json"
    writer.write_record(path, plain())
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="cannot be written: No space left"):
        writer.write_record(path, plain(cursor=1))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["walk.json"]
    with pytest.raises(UserError, match="cannot be written"):
        writer.write_record(tmp_path / "none" / "walk.json", plain())


KILLED = """
import os, random, signal, sys, time
from dataclasses import replace
from pathlib import Path
from core.sessions import reader, record, writer

path = Path(sys.argv[1])
old = replace(reader.read_record(path), written="", program="")
new = replace(old, cursor=1)
numbers, seen, left = random.Random(7), set(), 0
for _ in range(120):
    child = os.fork()
    if not child:
        while True:
            for each in (new, old):
                writer.write_record(path, each)
    time.sleep(numbers.uniform(0.0005, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = replace(reader.read_record(path), written="", program="")
    assert found in (old, new)
    seen.add(found.cursor)
    for temporary in path.parent.glob(".*.tmp"):
        temporary.unlink()
        left += 1
print(len(seen), left)
"""


def test_a_write_killed_at_any_moment_leaves_the_last_good_file(tmp_path: Path) -> None:
    """A writer that never rests is killed 120 times; the file is each time one of the two it writes, whole."""
    rows = [NodeRow(0, Token(97, b"a"))] + [NodeRow(n, plain().rows[1].token) for n in range(1, 60)]
    path = tmp_path / "walk.json"
    writer.write_record(path, plain(rows=tuple(rows), end=60, cursor=60))
    command = [sys.executable, "-c", KILLED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    versions, unfinished = map(int, done.stdout.split())
    assert versions == 2
    assert unfinished > 10  # it was killed while it wrote


# The folder ----------------------------------------------------------------------------------------------------------


def test_the_folder_belongs_to_its_owner_and_lists_the_newest_first(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "sessions"
    storage.prepare(folder)
    storage.prepare(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    with pytest.raises(UserError, match="no saved session"):
        storage.newest(folder)
    for number, name in enumerate(("one.json", "two.json", "broken.json", "note.txt")):
        (folder / name).write_text("{" if name == "broken.json" else text_of(plain()))
        os.utime(folder / name, (1e9 + number, 1e9 + number))
    broken, two, one = storage.saved_sessions(folder)
    assert (two.path.name, two.prompt, two.model, two.tokens, two.branches) == (
        "two.json",
        "a",
        "model1 cpu fp32",
        3,
        2,
    )
    assert (one.path.name, one.problem) == ("one.json", None)
    assert broken.problem
    assert "ends too early" in broken.problem
    assert storage.newest(folder).name == "broken.json"


def test_temporary_files_of_a_killed_write_are_removed_later(tmp_path: Path) -> None:
    for name, age in ((".old.json.1.tmp", 1e9), (".new.json.2.tmp", None)):
        (tmp_path / name).touch()
        if age:
            os.utime(tmp_path / name, (age, age))
    storage.prepare(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".new.json.2.tmp"]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("I prefer oat milk in", "i-prefer-oat-milk-in"),
        ("../../etc/passwd\x00\x1b[2J\n", "etc-passwd-2j"),
        ("", "walk"),
        ("字" * 300, "字" * 40),
        ("-- --", "walk"),
    ],
)
def test_file_names_hold_the_time_and_the_prompt(prompt: str, words: str, tmp_path: Path) -> None:
    first = storage.free(tmp_path, prompt)
    assert first.parent == tmp_path
    assert first.name[18:] == f"{words}.json"
    assert len(os.fsencode(first.name)) < 200
    first.touch()
    second = storage.free(tmp_path, prompt)
    assert second != first


def test_patches_are_active_in_an_opened_walk(small: Callable[..., Model]) -> None:
    """Scores and distribution equal those of the patched model; without patches the model is unchanged."""
    walk = Session(small("model5"))
    list(walk.prefill(list(b"oat")))
    plain = walk.distribution().logits
    list(walk.patch([Patch(kind="zero", part="head", layer=1, index=2), Patch(kind="scale", part="mlp", layer=0)]))
    list(walk.generate(4))
    list(walk.score())
    saved, patches, tokens, patched = (
        text_of(record.record_of(walk)),
        walk.patches,
        list(walk.tokens),
        walk.distribution().logits,
    )
    list(walk.patch(()))
    opened = resume.session(reader.parse_record(saved, "walk.json"), small("model5"))
    assert (opened.patches, opened.tokens) == (patches, tokens)
    assert (opened.distribution().logits - patched).abs().max() < 1e-5
    list(opened.patch(()))
    opened.travel(3)
    assert (opened.distribution().logits - plain).abs().max() < 1e-5
    assert (patched - walk.distribution().logits).abs().max() > 1e-3
