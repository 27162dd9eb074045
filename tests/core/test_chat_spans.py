"""Conversations as transformers renders them, and which of their tokens belong to whom."""

from dataclasses import asdict
from functools import cache
from typing import Any

import pytest
from tokenizers import Tokenizer as Library
from tokenizers import models
from transformers import PreTrainedTokenizerFast

from core.errors import UserError
from core.loading.tokenizers import load_tokenizer
from core.tokenizers import thinking
from core.tokenizers.chat import Span, render, spans_of
from core.tokenizers.chat_template import ChatTemplate, Message
from core.tokenizers.tokenizer import Tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
    "{% endgeneration %}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRIMMED = (
    "{{ bos_token }}{% if tools is not none %}tools{% endif %}{% if documents is none %}{% endif %}"
    "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0].content %}"
    "{% else %}{% set rest = messages %}{% set system = 'You think in <think> tags </think>.' %}{% endif %}"
    "[SYS]{{ system | trim }}[/SYS]"
    "{% for m in rest %}[{{ m.role | upper }}] {{ m.content.split('</think>')[-1] | trim }} [/]{% endfor %}"
    "{% if add_generation_prompt %}[ASSISTANT]<think>\n{% endif %}"
)
OTHERS = {
    "json": "{{ messages | tojson(indent=2, sort_keys=True) }}{{ [1, 'ä<'] | tojson(ensure_ascii=True) }}",
    "loops": "{% for m in messages %}{% if loop.index0 == 1 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "namespace": "{% set n = namespace(a=1) %}{% set n.a = n.a + 1 %}{{ n.a }}{{ dict(b=2).b }}{{ messages | length }}",
    "macro": "{% macro say(x) %}<{{ x }}>{% endmacro %}{% for m in messages %}{{ say(m['content']) }}{% endfor %}",
    "year": "{{ strftime_now('%Y') }}{{ eos_token }}{{ messages[-1].content }}",
}
TEMPLATES = {"chatml": CHATML, "trimmed": TRIMMED, **OTHERS}
TALK = [
    Message("system", "Be brief."),
    Message("user", "  user\nassistant <|im_end|> "),
    Message("assistant", "user"),
    Message("user", "日本語 {{ x }} 👩‍🚀"),
]


def with_template(source: str) -> Tokenizer:
    own = load_tokenizer("bytes")
    tokenizer = Tokenizer("talker", own.encoding)
    tokenizer.template = ChatTemplate(source, {"bos_token": "<s>", "eos_token": "</s>"})
    return tokenizer


@cache
def theirs() -> Any:
    library = Library(models.BPE({"a": 0, "<s>": 1, "</s>": 2}, []))
    return PreTrainedTokenizerFast(tokenizer_object=library, bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize("name", TEMPLATES)
def test_conversations_are_rendered_as_in_transformers(name: str) -> None:
    """With and without the beginning of an answer; tools and documents are none, not undefined."""
    source = TEMPLATES[name]
    tokenizer = with_template(source)
    for talk, begin in ((TALK, True), (TALK[1:3], False)):
        expected = theirs().apply_chat_template(
            [asdict(each) for each in talk], chat_template=source, add_generation_prompt=begin, tokenize=False
        )
        chat = render(tokenizer, talk, add_generation_prompt=begin)
        assert chat.text == expected
        assert list(chat.ids) == tokenizer.inner_ids(expected, special=True)


@pytest.mark.parametrize("content", ["The capital", "ends in a space ", "two\nlines\n"])
@pytest.mark.parametrize("name", ["chatml", "trimmed"])
def test_the_last_message_can_be_continued_as_in_transformers(name: str, content: str) -> None:
    talk = [*TALK, Message("assistant", content)]
    expected = theirs().apply_chat_template(
        [asdict(each) for each in talk], chat_template=TEMPLATES[name], continue_final_message=True, tokenize=False
    )
    chat = render(with_template(TEMPLATES[name]), talk, continue_final=True)
    assert chat.text == expected
    assert chat.spans[-1].role == "assistant"


@pytest.mark.parametrize("name", ["chatml", "trimmed"])
def test_spans_cover_a_conversation_and_name_its_roles(name: str) -> None:
    """Also where a message reads like the template's own words; with the white space that the template keeps."""
    tokenizer = with_template(TEMPLATES[name])
    chat = render(tokenizer, TALK)
    assert [span.start for span in chat.spans[1:]] == [span.end for span in chat.spans[:-1]]
    assert (chat.spans[0].start, chat.spans[-1].end) == (0, len(chat.ids))
    said = [(span.role, tokenizer.text(chat.ids[span.start : span.end])) for span in chat.spans]
    assert [(role, text) for role, text in said if role != "template"] == [
        (each.role, each.content if name == "chatml" else each.content.strip()) for each in TALK
    ]


def test_without_a_system_message_the_template_s_own_is_the_template_s() -> None:
    """And its `<think>` is not thinking; the one it opens the answer with is."""
    tokenizer = with_template(TRIMMED)
    chat = render(tokenizer, [Message("user", "hi")])
    found = [(span.role, span.thinking, tokenizer.text(chat.ids[span.start : span.end])) for span in chat.spans]
    assert found == [
        ("template", False, "<s>[SYS]You think in <think> tags </think>.[/SYS][USER] "),
        ("user", False, "hi"),
        ("template", False, " [/][ASSISTANT]"),
        ("template", True, "<think>\n"),
    ]


def test_a_message_that_the_template_shortens_is_found_by_what_stands_around_it() -> None:
    """The thinking of earlier answers is dropped, as Qwen3's template does."""
    talk = [Message("user", "hi"), Message("assistant", "<think>hm</think>Hello"), Message("user", "why?")]
    tokenizer = with_template(TRIMMED)
    chat = render(tokenizer, talk)
    said = [tokenizer.text(chat.ids[span.start : span.end]) for span in chat.spans if span.role == "assistant"]
    assert said == ["Hello"]


@pytest.mark.parametrize("name", ["namespace", "loops"])
def test_messages_that_cannot_be_found_have_no_spans(name: str) -> None:
    """Messages that the template rewrites, or leaves out, are in no span; ids are there all the same."""
    chat = render(with_template(OTHERS[name]), TALK)
    assert chat.ids
    assert {span.role for span in chat.spans} <= {"template", "system"}


def test_generated_tokens_are_the_assistant_s_and_thinking_is_told_apart() -> None:
    """A template that opens the thinking; the model closes it and answers; the end of the turn is the template's."""
    tokenizer = with_template(TRIMMED)
    chat = render(tokenizer, [Message("user", "hi")])
    ids = [*chat.ids, *tokenizer.inner_ids("hm</think>Hello"), tokenizer.end_of_text]
    tokenizer.stops = frozenset({tokenizer.end_of_text})
    spans = spans_of(tokenizer, ids, chat.spans)
    found = [(span.role, span.thinking, tokenizer.text(ids[span.start : span.end])) for span in spans[3:]]
    assert found == [
        ("template", True, "<think>\n"),
        ("assistant", True, "hm</think>"),
        ("assistant", False, "Hello"),
        ("template", False, "<|endoftext|>"),
    ]
    assert spans_of(tokenizer, chat.ids, chat.spans) == chat.spans
    assert spans_of(tokenizer, tokenizer.inner_ids("x")) == (Span(0, 1, "assistant"),)


@pytest.mark.parametrize(("begin", "end"), thinking.MARKERS)
def test_every_family_s_markers_are_found(begin: str, end: str) -> None:
    """In one token each, or letter by letter."""
    text = f"a{begin}b{end}c"
    for pieces in (
        [text[n : n + 1].encode() for n in range(len(text))],
        [b"a", begin.encode(), b"b", end.encode(), b"c"],
    ):
        thinks = thinking.find(pieces, 0)
        kept = b"".join(piece for piece, thought in zip(pieces, thinks, strict=True) if not thought)
        assert kept == b"ac"


def test_thinking_without_a_beginning_or_an_end() -> None:
    """An end alone ends what the assistant said so far; a beginning alone goes on to the last token."""
    pieces = [b"H", b"hm", b"</think>", b"Hello", b"<think>", b"x", b"y"]
    assert thinking.find(pieces, 1) == [False, True, True, False, True, True, True]
    assert thinking.find([b"Hi", b"<|end|>"], 0) == [False, False]


def test_a_conversation_without_a_template_is_refused() -> None:
    with pytest.raises(UserError, match="bytes has no chat template"):
        render(load_tokenizer("bytes"), TALK)
