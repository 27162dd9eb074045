"""A damaged file of a walk is an error of one line that names the field."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import again, plain, text_of

from core.errors import UserError
from core.sessions import reader, resume


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
    "another format": (changed("format", "something"), "format"),
    "newer": (changed("version", 4), "newer"),
    "no version": (changed("version", ...), "version is missing"),
    "version zero": (changed("version", 0), "version"),
    "a version as text": (changed("version", "1"), "version"),
    "no nodes": (changed("nodes", ...), "nodes is missing"),
    "empty": (changed("nodes", []), "nodes is empty"),
    "nodes that are numbers": (changed("nodes", [3]), "node 1"),
    "an id outside V": (changed("nodes.1.id", 257), "node 2: invalid value for id: 257"),
    "a negative id": (changed("nodes.1.id", -1), "node 2: invalid value for id: -1"),
    "an id without bytes": (changed("pieces.98", ...), "node 2: pieces has no bytes for its id 98"),
    "a piece outside V": (changed("pieces.257", "00"), "'257'"),
    "a piece with another digit": (changed("pieces.\u0663", "00"), "not one of the 257 ids"),
    "a piece that is no hex": (changed("pieces.97", "zz"), "pieces: invalid value for 97: 'zz'"),
    "an id that is true": (changed("nodes.1.id", True), "node 2: invalid value for id: True"),
    "an id with a fraction": (changed("nodes.1.id", 98.5), "node 2: invalid value for id"),
    "a cycle": (changed("nodes.1.parent", 3), "parent 3 does not come before"),
    "its own parent": (changed("nodes.1.parent", 2), "parent 2 does not come before"),
    "a node twice": (changed("nodes.2.node", 2), "two nodes have the number 2"),
    "a sibling twice": (changed("nodes.3.id", 98), "two tokens with the id 98"),
    "a prompt after its end": (changed("nodes.2.origin", "prompt"), "node 3: a token of the prompt"),
    "an unknown origin": (changed("nodes.1.origin", ["sampled"]), "origin"),
    "a position that does not exist": (changed("place.node", 9), "place: invalid value for node: 9"),
    "a cursor beyond the end": (changed("place.cursor", 4), "invalid value for cursor: 4"),
    "a cursor before the start": (changed("place.cursor", 0), "invalid value for cursor: 0"),
    "u of one": (changed("nodes.1.u", 1), "invalid value for u: 1"),
    "u as text": (changed("nodes.1.u", "half"), "invalid value for u: 'half'"),
    "a log probability above 0": (changed("nodes.1.logprob", 800.0), "invalid value for logprob: 800"),
    "a rank beyond V": (changed("nodes.1.rank", 257), "invalid value for rank: 257"),
    "an incomplete score": (changed("nodes.1.rank", ...), "rank is missing"),
    "a sampler that is not there": (changed("nodes.1.sampler", 1), "invalid value for sampler: 1"),
    "a draw without sampler": (changed("nodes.1.sampler", ...), "sampler is missing"),
    "a draw without model": (changed("nodes.1.model", ...), "model is missing"),
    "impossible settings": (changed("sampler.stages", "top_p=3"), "top-p must be"),
    "settings as text": (changed("samplers.0.top_k", "five"), "invalid value for top_k: 'five'"),
    "no models": (changed("models", []), "invalid value for model: 0"),
    "a model that is a string": (changed("models.0", "model1"), "model 1"),
    "a model without ids": (changed("models.0.vocab_size", 0), "vocab_size"),
    "changes that are a number": (changed("models.0.choice.changes", 7), "changes"),
    "a seed as text": (changed("models.0.choice.weights_seed", "x"), "weights_seed"),
    "an unknown activation": (changed("models.0.choice.changes.activation", "step"), "activation"),
    "a name that is a number": (changed("nodes.2.name", 3), "invalid value for name: 3"),
    "patches that are an object": (changed("patches", {}), "patches"),
    "a patch of an unknown part": (changed("patches", [{"kind": "zero", "part": "soul", "factor": 1}]), "soul"),
    "a patch that is no patch": (changed("patches", [{"kind": [], "part": "mlp"}]), "kind"),
    "a question about an id outside V": (changed("question", {"target": 257}), "question: 257 is not a token id"),
    "a question with a corrupt id outside V": (changed("question", {"corrupt": [1, -1]}), "-1 is not a token id"),
    "a question of an unknown measure": (changed("question", {"measure": "mood"}), "invalid value for measure: 'mood'"),
    "a question that is a list": (changed("question", [1]), "question"),
    "a list": ("[]", "object"),
    "a number": ("1", "object"),
    "nothing": ("", "ends too early"),
    "infinity": (changed("nodes.1.u", 0.5).replace('"u": 0.5', '"u": Infinity'), "Infinity"),
    "not a number": (changed("nodes.1.u", 0.5).replace('"u": 0.5', '"u": NaN'), "NaN"),
    "a number too large for a float": (
        changed("nodes.1.u", 0.5).replace('"u": 0.5', '"u": 1e999'),
        "invalid value for u: inf",
    ),
    "a huge number": (changed("nodes.1.redraw", 0.5).replace("0.5", "9" * 400), "redraw"),
    "a number longer than Python reads": (changed("nodes.1.redraw", 0.5).replace("0.5", "9" * 5000), "walk.json"),
    "deep nesting": ("[" * 200_000, "nested too deeply"),
    "deep nesting of objects": ('{"a":' * 200_000, "nested too deeply"),
    "an escape in a name": (changed("sampler.stages", "\x1b[2J\n"), "stage"),
}


@pytest.mark.parametrize("name", WRONG)
def test_each_damage_is_one_line_that_names_the_field(name: str, tmp_path: Path) -> None:
    text, says = WRONG[name]
    path = tmp_path / "walk.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        reader.read_record(path)
    message = str(error.value)
    assert says in message
    assert message.startswith("walk.json")
    assert len(message.splitlines()) == 1
    assert len(message) < 300
    assert path.read_text(encoding="utf-8") == text
    assert [entry.name for entry in tmp_path.iterdir()] == ["walk.json"]


def test_a_truncated_file_is_a_user_error() -> None:
    text = text_of(plain())
    for end in range(len(text) - 2):
        with pytest.raises(UserError, match=r"^walk.json is not a complete session: line \d+, column \d+: "):
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
    except UserError as error:
        assert len(str(error).splitlines()) == 1
        return
    assert again(read) == replace(read, written="", program="")
    unavailable = resume.session_without_model(read, UserError("it is not here"))
    assert unavailable.snapshot().chart is None
    assert unavailable.history.forest().rows


def test_what_is_not_a_file_is_a_user_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.json", Path("/dev/zero"), Path("nul\0.json")):
        with pytest.raises(UserError, match=r"is a folder, not a file|is a device, not a file|cannot be read"):
            reader.read_record(path)
    (tmp_path / "bytes.json").write_bytes(b'{"format": "\xff"}')
    with pytest.raises(UserError, match="byte 13 is not UTF-8"):
        reader.read_record(tmp_path / "bytes.json")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "walk.json"
    with path.open("wb") as file:
        file.truncate(reader.LARGEST + 1)  # a hole: it takes no room
    with pytest.raises(UserError, match="too large"):
        reader.read_record(path)
