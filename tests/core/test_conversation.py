"""Conversations as walks: messages in the chat template, turn by turn, with roles, undo, files and replay."""

from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import UserError
from core.generation.token import Token
from core.loading.choice import ModelChoice
from core.loading.model import Model
from core.loading.models import load_model
from core.sampling.sampler import Sampler
from core.sessions import reader, record, resume, writer
from core.sessions.replay import Overrides, runs
from core.tokenizers import chat
from core.tokenizers.chat_template import Message
from core.walk import conversation
from core.walk.session import Session
from core.walk.values import PromptForm

Load = Callable[[str], Model]
END = 258
"""The id of `<|im_end|>` in the tiny chat model."""


@pytest.fixture
def model(chat_model: Path) -> Model:
    return load_model(ModelChoice(name=str(chat_model), device="cpu", dtype="fp32"))


@pytest.fixture
def session(model: Model) -> Session:
    session = Session(model)
    list(session.turns.write("hi"))
    return session


def says(session: Session) -> list[tuple[str, str]]:
    """The spans with their texts."""
    text = session.model.tokenizer.text
    return [
        (span.role, text([token.id for token in session.tokens[span.start : span.end]]))
        for span in session.snapshot().spans
    ]


def answer(session: Session, text: str, *, end: bool = True) -> None:
    for id in [*text.encode(), *([END] if end else [])]:
        session.take(session.model.tokenizer.encode(chr(id))[0] if id < 256 else id)


def test_the_first_message_is_what_the_template_writes(session: Session, model: Model) -> None:
    rendered = chat.render(model.tokenizer, [Message("user", "hi")])
    assert [token.id for token in session.tokens] == list(rendered.ids)
    assert says(session) == [
        ("template", "<|im_start|>user\n"),
        ("user", "hi"),
        ("template", "<|im_end|>\n<|im_start|>assistant\n"),
    ]
    assert (session.turns.prompt(), session.turns.next) == ("hi", 0)


def test_a_system_message_stands_before_it(session: Session, model: Model) -> None:
    list(session.turns.write("hi", "be brief"))
    rendered = chat.render(model.tokenizer, [Message("system", "be brief"), Message("user", "hi")])
    assert [token.id for token in session.tokens] == list(rendered.ids)
    assert ("system", "be brief") in says(session)


@pytest.mark.parametrize("ended", [True, False])
def test_a_later_message_follows_the_answer_as_the_template_writes_it(
    session: Session, model: Model, ended: bool
) -> None:
    """Whether the model ended its turn or was interrupted, the ids are those of the whole conversation."""
    answer(session, "yes", end=ended)
    before = [token.id for token in session.tokens]
    list(session.turns.write("why?"))
    messages = [Message("user", "hi"), Message("assistant", "yes"), Message("user", "why?")]
    assert [token.id for token in session.tokens] == list(chat.render(model.tokenizer, messages).ids)
    assert [token.id for token in session.tokens][: len(before)] == before
    assert [role for role, _ in says(session) if role != "template"] == ["user", "assistant", "user"]
    assert session.turns.prompt() == "why?"
    assert [text for role, text in says(session) if role == "user"] == ["hi", "why?"]


def test_an_answer_without_text_is_followed_too(session: Session) -> None:
    session.take(END)
    list(session.turns.write("hello?"))
    assert says(session)[-2:] == [("user", "hello?"), ("template", "<|im_end|>\n<|im_start|>assistant\n")]
    assert session.model.tokenizer.text([token.id for token in session.tokens]).count("<|im_end|>") == 3


def test_a_message_is_taken_back_as_a_whole(session: Session) -> None:
    answer(session, "yes")
    length = len(session.tokens)
    for text in ("w", "wh", "why?"):
        list(session.turns.write(text))
    session.take_back()
    assert len(session.tokens) == length
    session.redo()
    assert session.turns.prompt() == "why?"
    list(session.turns.write(""))
    assert len(session.tokens) == length
    assert (session.turns.prompt(), session.turns.next) == ("hi", length)


def test_each_message_can_be_written_anew_where_the_cursor_is(session: Session) -> None:
    """In a message that message; after an answer the next one."""
    answer(session, "yes")
    list(session.turns.write("why?"))
    second = session.turns.next
    answer(session, "so")
    session.travel(second + 3)
    assert (session.turns.next, session.turns.prompt()) == (second, "why?")
    list(session.turns.write("how?"))
    assert [text for role, text in says(session) if role == "user"] == ["hi", "how?"]
    session.travel(2)
    assert (session.turns.next, session.turns.prompt()) == (0, "hi")
    list(session.turns.write("hello"))
    assert [text for role, text in says(session) if role == "user"] == ["hello"]


def test_a_token_that_was_given_is_not_drawn_again(session: Session) -> None:
    answer(session, "yes")
    list(session.turns.write("why?"))
    with pytest.raises(UserError, match="no token was drawn here"):
        session.redraw()


def test_thinking_is_marked_in_each_answer(session: Session, model: Model) -> None:
    think, done = (model.tokenizer.encode(each, special=True)[0] for each in ("<think>", "</think>"))
    for _ in range(2):
        session.take(think)
        answer(session, "hm", end=False)
        session.take(done)
        answer(session, "yes")
        list(session.turns.write("and?"))
    thoughts = [span for span in session.snapshot().spans if span.thinking]
    assert [model.tokenizer.text([token.id for token in session.tokens[s.start : s.end]]) for s in thoughts] == [
        "<think>hm</think>"
    ] * 2


def test_a_prompt_without_the_template_has_no_roles(session: Session) -> None:
    list(session.prefill(session.model.tokenizer.encode("hi"), "hi"))
    assert session.snapshot().spans == ()
    list(session.turns.write("hi", turn=0))
    assert session.snapshot().spans


def test_a_conversation_is_saved_opened_and_replayed(session: Session, tmp_path: Path) -> None:
    list(session.generate(3))
    list(session.turns.write("why?"))
    list(session.generate(3))
    list(session.score())
    spans = session.snapshot().spans
    writer.write_record(tmp_path / "walk.json", record.record_of(session))
    saved = reader.read_record(tmp_path / "walk.json")
    assert saved.prompt == "hi"
    for _, positions in runs(saved, Overrides()):
        assert not any(found.differs(1e-4) for found in positions)
    opened = resume.session(saved, session.model)
    assert opened.snapshot().spans == spans
    assert (opened.turns.prompt(), opened.turns.next) == (session.turns.prompt(), session.turns.next)
    list(opened.turns.write("and?"))
    assert [text for role, text in says(opened) if role == "user"] == ["hi", "why?", "and?"]


@pytest.mark.parametrize("role", ["narrator", 3, "\x1b[2J"])
def test_a_file_with_another_role_is_refused(session: Session, tmp_path: Path, role: object) -> None:
    import json

    writer.write_record(tmp_path / "walk.json", record.record_of(session))
    values = json.loads((tmp_path / "walk.json").read_text())
    values["nodes"][0]["role"] = role
    (tmp_path / "walk.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="role"):
        reader.read_record(tmp_path / "walk.json")


def test_a_model_without_a_template_has_no_conversation(small: Callable[[str], Model]) -> None:
    session = Session(small("model5"))
    list(session.prefill(list(b"oat")))
    with pytest.raises(UserError, match="no chat template"):
        session.turns.write("hi")
    assert session.turns.prompt() == "oat"


def test_smollm2_answers_two_messages(smollm2: Load) -> None:
    """Each answer ends with the end of the turn, and the second message stands where the template has it."""
    session = Session(smollm2("fp32"), Sampler.of(temperature=0))
    list(session.turns.write("What is the capital of France?"))
    list(session.generate(40))
    first = session.tokens[-1]
    list(session.turns.write("And of Italy?"))
    list(session.generate(40))
    tokenizer = session.model.tokenizer
    messages = conversation.messages(tokenizer, session.tokens)
    assert [message.role for message in messages] == ["user", "assistant"] * 2
    assert first.id in tokenizer.stops
    assert session.tokens[-1].id in tokenizer.stops
    whole = chat.render(tokenizer, messages[:3])
    assert list(whole.ids) == [token.id for token in session.tokens][: len(whole.ids)]


def test_tokens_of_no_conversation_have_no_spans() -> None:
    from core.loading.tokenizers import load_tokenizer

    assert conversation.spans(load_tokenizer("bytes"), [Token(1, b"a")]) == ()


def test_in_another_form_and_back_nothing_is_lost(session: Session) -> None:
    """Answers, messages without an answer, and what the plain prompt was continued with come back, wherever one is."""
    answer(session, "yes")
    list(session.turns.write("why?"))
    answer(session, "so")
    list(session.turns.write("unanswered"))
    talk = [*session.tokens]
    session.travel(9)
    list(session.rewrite(PromptForm(chat=False)))
    assert [token.id for token in session.tokens] == session.model.tokenizer.encode("hi")
    session.take(5)
    plain = [*session.tokens]
    for _ in range(2):
        list(session.rewrite(PromptForm(chat=True)))
        assert session.tokens == talk
        assert (session.cursor, session.turns.prompt(), says(session)[-2]) == (
            len(talk),
            "unanswered",
            ("user", "unanswered"),
        )
        list(session.rewrite(PromptForm(chat=False)))
        assert session.tokens == plain
