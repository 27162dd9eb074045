"""A constraint in a walk: what it masks, where it ends, and that undo, branches, travel and replay change nothing."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.constraints.source import LONGEST
from core.errors import UserError
from core.generation.batch import Batch, generate_batch
from core.generation.sample import Sample, stop_ids
from core.generation.stop_conditions import StopConditions
from core.loading.choice import ModelChoice
from core.loading.model import Model
from core.loading.models import load_model
from core.sampling import constraint
from core.sampling.sampler import Sampler
from core.sampling.stages.regex import Regex
from core.sessions import reader, record, replay, writer
from core.walk.session import Session

Small = Callable[..., Model]
SUM = r"[0-9]{1,2}(\+[0-9]{1,2}){2}"


def regex(pattern: str, start: int = 0, **short: float) -> Sampler:
    return Sampler.of(**short).with_stage(Regex(text=pattern, start=start))  # type: ignore[arg-type]


@pytest.fixture
def walk(small: Small) -> Callable[..., Session]:
    def start(sampler: Sampler, prompt: str = "oat ") -> Session:
        session = Session(small("model5"), sampler)
        list(session.prefill(list(prompt.encode())))
        return session

    return start


def generated(session: Session) -> str:
    return b"".join(token.piece for token in session.tokens[session.prompt_length :]).decode()


@pytest.mark.parametrize("seed", range(5))
def test_a_walk_matches_and_ends(walk: Callable[..., Session], seed: int) -> None:
    """The text is a sum of three numbers, after which the walk stops with the token that ends a text."""
    session = walk(replace(regex(SUM), seed=seed))
    list(session.generate(40))
    end = "<|endoftext|>"
    assert generated(session).endswith(end)
    assert re.fullmatch(SUM, generated(session).removesuffix(end))
    assert session.stopped == "stopped: the model ended its text"


def test_the_mask_is_seen_with_what_the_model_would_have_said(walk: Callable[..., Session]) -> None:
    """The removed mass is that of all tokens but the digits, in float64; the chart keeps the model's probability."""
    session = walk(regex(SUM))
    seen = session.snapshot().chart
    assert seen is not None
    logits = session.distribution().logits.double().numpy()
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    digits = [ord(digit) for digit in "0123456789"]
    assert seen.stages[0].stage.NAME == "regex"
    assert seen.stages[0].removed_mass == pytest.approx(1 - shares[digits].sum(), abs=1e-6)
    assert seen.kept == 10
    listed = {each.id: each for each in seen.candidates}
    assert set(digits) <= listed.keys()
    for id, each in listed.items():
        assert each.probability == pytest.approx(shares[id], abs=1e-6)
        wanted = shares[id] / shares[digits].sum() if id in digits else 0.0
        assert each.sampled_probability == pytest.approx(wanted, abs=1e-6)
        assert each.rank == int((logits > logits[id]).sum())


def test_undo_branches_and_travel_leave_the_mask_as_a_fresh_walk_has_it(walk: Callable[..., Session]) -> None:
    """After each of many moves, the chart equals that of another walk that came to the same ids."""
    session = walk(regex(SUM))
    moves = ["step", "step", "step", "take_back", "step", "redraw", "left", "step", "take_back", "redo", "step", "end"]
    for move in moves:
        if move == "left":
            session.travel(session.cursor - 2)
        elif move == "end":
            session.travel(len(session.tokens))
        elif move != "redo" or session.history.undone:
            getattr(session, move)()
        other = walk(regex(SUM))
        for token in session.tokens[4 : session.cursor]:
            other.take(token.id)
        here, there = session.chart(), other.chart()
        assert (here.kept, here.problem) == (there.kept, there.problem)
        assert [c.id for c in here.candidates if c.sampled_probability] == [
            c.id for c in there.candidates if c.sampled_probability
        ]


def test_a_walk_under_a_constraint_is_saved_and_replayed(walk: Callable[..., Session], tmp_path: Path) -> None:
    """The file holds the constraint itself; every draw comes again."""
    session = walk(replace(regex(SUM, start=2), seed=7))
    list(session.generate(12))
    writer.write_record(tmp_path / "walk.json", record.record_of(session))
    saved = reader.read_record(tmp_path / "walk.json")
    assert saved.sampler == session.sampler
    repeated = list(replay.replay(saved, session.model))
    assert len(repeated) >= 8
    assert not any(each.differs(1e-5) for each in repeated)


def test_samples_of_a_batch_equal_walks_with_their_seeds(small: Small, walk: Callable[..., Session]) -> None:
    """Five samples, each with its own state of the constraint, each ended where its text ends."""
    model, sampler = small("model5"), regex(SUM)
    samples = [Sample(StopConditions(), stop_ids(model.tokenizer, sampler)) for _ in range(5)]
    batch = Batch(model, list(b"oat "), sampler, 5)
    for _ in generate_batch(batch, samples, 40):
        pass
    for seed, sample in enumerate(samples):
        session = walk(replace(sampler, seed=seed))
        list(session.generate(40))
        assert [token.id for token in sample.tokens] == [token.id for token in session.tokens[4:]]
        assert sample.stopped == "the model ended its text"


def test_a_constraint_begins_after_its_start(walk: Callable[..., Session]) -> None:
    """Two free tokens, then the form; going back before them lifts the mask."""
    session = walk(regex("[0-9]{3}", start=2))
    assert session.chart().kept == 257
    session.take(ord("x"))
    session.take(ord("y"))
    assert session.chart().kept == 10
    list(session.generate(3))
    assert re.fullmatch("xy[0-9]{3}", generated(session))
    session.travel(5)
    assert session.chart().kept == 257


def test_what_cannot_go_on_is_one_line_and_the_walk_lives(walk: Callable[..., Session]) -> None:
    """A token taken against it, a stage before it that removes all that match, a form that nothing meets."""
    session = walk(regex("[0-9]+"))
    session.take(ord("x"))
    assert "token 1 of the text, 'x', does not match the regular expression" in session.chart().problem
    with pytest.raises(UserError, match="token 1 of the text, 'x'"):
        session.step()
    session.take_back()
    session.step()
    greedy = Sampler.read(r"top_k=1,regex='\x00'")
    session = walk(greedy)
    with pytest.raises(UserError, match="put it before them"):
        session.step()
    session.sampler = regex(r"[^\x00-\U0010FFFF]")
    with pytest.raises(UserError, match="no token can follow"):
        session.step()
    session.sampler = Sampler()
    session.step()


def test_with_trained_weights_a_schema_gives_json() -> None:
    """model5-trained, which never saw JSON, over a vocabulary of 825 tokens: greedy and drawn."""
    model = load_model(ModelChoice(name="model5-trained", device="cpu"))
    schema = {
        "type": "object",
        "properties": {"drink": {"enum": ["tea", "coffee"]}, "cups": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["drink", "cups"],
        "additionalProperties": False,
    }
    for temperature in (0.0, 1.0):
        session = Session(
            model, Sampler.of(temperature=temperature).with_stage(constraint.from_text("json", json.dumps(schema)))
        )
        list(session.prefill(model.tokenizer.encode("I prefer oat milk in")))
        list(session.generate(60))
        value = json.loads(generated(session).removesuffix("<|endoftext|>"))
        assert value["drink"] in ("tea", "coffee")
        assert 1 <= value["cups"] <= 9


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ("", None),
        ("regex [0-9]+", "regex='[0-9]+':3"),
        ("choice ' yes';' no'", "choice=' yes';' no':3"),
    ],
)
def test_a_line_is_a_constraint(line: str, written: str | None) -> None:
    found = constraint.parse(line, start=3)
    assert (None if found is None else str(found)) == written
    changed = constraint.constrained(regex("x"), found)
    assert [stage.NAME for stage in changed.stages[:2]] == (
        ["temp", "top_k"] if found is None else [found.NAME, "temp"]
    )
    assert Sampler.read(str(changed)) == changed


def test_files_are_read_within_limits(tmp_path: Path) -> None:
    """A schema, a grammar; and what is no file, not text, too long, or does not compile, named with its path."""
    (tmp_path / "sum.gbnf").write_text('root ::= [0-9] "+" [0-9]')
    found = constraint.parse(f"grammar {tmp_path / 'sum.gbnf'}")
    assert found is not None
    assert found.text == 'root ::= [0-9] "+" [0-9]'
    for name, content, named in (
        ("bad.json", b"{", "bad.json: the JSON schema"),
        ("bytes.json", b"\xff", "byte 1"),
        ("long.json", b" " * (LONGEST + 10), "characters"),
        ("empty.json", b"", "empty"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=re.escape(named)):
            constraint.from_file("json", tmp_path / name)
    for path in (tmp_path, tmp_path / "none", Path("/dev/zero")):
        with pytest.raises(UserError, match="is not a file"):
            constraint.from_file("json", path)


@pytest.mark.parametrize("line", ["regex", "rx a", "choice yes", "choice 13", "regex (a", "json /no/such/file"])
def test_a_line_that_is_no_constraint_is_refused(line: str) -> None:
    with pytest.raises(UserError) as caught:
        constraint.parse(line)
    assert len(str(caught.value).splitlines()) == 1
