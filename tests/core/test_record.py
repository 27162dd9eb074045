"""A saved walk is read as it was written, and can be shown without its model."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import INFO, After, Small, again, plain, text_of

from core.activations.patch import Patch
from core.causal.question import CausalQuestion
from core.errors import Action, UserError
from core.generation.token import Token
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.model import Model
from core.loading.tokenizers import load_tokenizer
from core.sampling.sampler import Sampler
from core.sampling.values import Score
from core.sessions import reader, record, resume
from core.sessions.record import NodeRow
from core.walk.session import Session
from core.walk.tree import Node, Tree
from core.walk.values import PromptForm

# Round trips ----------------------------------------------------------------------------------------------------------


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
    Sampler.of(temperature=0),
    Sampler.of(top_k=3, seed=-1),
    Sampler.of(temperature=1 / 3, top_p=0.7, seed=2**80),
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
            list(walk.continuations.sample(2, 2))
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


def test_a_question_is_kept_and_a_file_without_one_has_the_default() -> None:
    asked = CausalQuestion(target=98, measure="logprob", corrupt=(97, 99), align="right")
    assert again(plain(question=asked)).question == asked
    assert "question" not in json.loads(text_of(plain()))
    assert again(plain()).question == CausalQuestion()
    values = json.loads(text_of(plain())) | {"question": {"against": 3, "mood": "later"}}
    assert reader.parse_record(json.dumps(values), "walk.json").question == CausalQuestion(against=3)


def test_the_question_of_a_walk_stays_in_an_opened_walk_and_in_another_model(small: Small) -> None:
    walk = Session(small("model5"))
    list(walk.prefill(list(b"oat")))
    before = walk.mark()
    walk.ask(CausalQuestion(target=98))
    walk.compare_with("oaf", PromptForm(), "right")
    assert walk.mark() != before
    opened = resume.session(again(record.record_of(walk)), small("model5"))
    for session in (opened, walk.moved_to(small("model6"))):
        assert session.question == CausalQuestion(target=98, corrupt=tuple(b"oaf"), align="right")
    shown = resume.session_without_model(record.record_of(walk), UserError("it is not here"))
    assert (shown.question, shown.snapshot().measured) == (walk.question, None)
    list(walk.generate(2))
    assert walk.current_question().corrupt == (*b"oaf", *(token.id for token in walk.tokens[3:]))
    measured, logits = walk.snapshot().measured, walk.distribution().logits
    assert measured and measured.value == (logits[98] - logits[measured.target.against]).item()
    with pytest.raises(UserError, match="257 is not a token id"):
        walk.ask(CausalQuestion(target=257))
    walk.compare_with("", PromptForm(), "left")
    assert walk.question == CausalQuestion(target=98)


def test_a_record_knows_its_prompt_and_branches() -> None:
    walk = plain()
    assert (walk.prompt, walk.branches, [token.id for token in walk.path()]) == ("a", 2, [97, 98, 128])
    assert replace(walk, rows=(walk.rows[0]._replace(text=None), *walk.rows[1:])).prompt == "a"


def test_another_tokenizer_is_a_user_error(small: Small) -> None:
    tokenizer = small().tokenizer
    plain().check(tokenizer)
    rows = (NodeRow(0, Token(97, b"not a")),)
    with pytest.raises(UserError, match="id 97 is 'not a'"):
        plain(rows=rows, end=1, cursor=1).check(tokenizer)
    with pytest.raises(UserError, match="cl100k"):
        plain().check(load_tokenizer("cl100k"))


# Without its model ----------------------------------------------------------------------------------------------------


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
        lambda: list(unavailable.continuations.sample(2, 2)),
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


# The folder -----------------------------------------------------------------------------------------------------------


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
