"""Prompts of chat models: the ids of a rendered conversation, and which of them belong to whom."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from core.errors import Option, UserError
from core.language import _
from core.tokenizers import thinking
from core.tokenizers.chat_template import Message, Rendered, placeholder
from core.tokenizers.chat_template import render as render_template
from core.tokenizers.tokenizer import Tokenizer

TEMPLATE, ASSISTANT = "template", "assistant"
_PLACEHOLDER = re.compile(placeholder(0).replace("0", "([0-9]+)"))


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens from `start` up to `end` that have one role."""

    start: int
    end: int
    role: str
    """The role of the message (`system`, `user`, `assistant`, `tool`), or `template` for what stands around them."""
    thinking: bool = False
    """Whether the assistant thinks here, markers such as `<think>` included."""


@dataclass(frozen=True, slots=True)
class Chat:
    """A rendered conversation."""

    text: str
    ids: tuple[int, ...]
    spans: tuple[Span, ...]
    """They cover the ids, in order; empty where the template changes the messages so that they cannot be found."""


def encode(
    tokenizer: Tokenizer, text: str, *, special: bool = False, chat: bool = False, system: str = ""
) -> list[int]:
    """Ids of a prompt. With `chat`: ids of a conversation with the message `text` of the user, after one of `system`.

    Raises `UserError` where there is no template, or where it fails or exceeds the limits of time, memory or length.
    """
    if chat:
        return list(render(tokenizer, first_messages(text, system)).ids)
    return tokenizer.encode(text, special=special)


def first_messages(text: str, system: str = "") -> list[Message]:
    """The messages that a conversation begins with: that of the system, if there is one, and the user's."""
    return [*([Message("system", system)] if system else []), Message("user", text)]


def render(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    *,
    add_generation_prompt: bool = True,
    continue_final: bool = False,
) -> Chat:
    """The conversation as the model's chat template writes it; special tokens in it, typed ones too, are tokens.

    `add_generation_prompt` adds the beginning of an answer. `continue_final` ends the text within the last message, so
    that the model goes on with it. No BOS is added to what the template writes, as in transformers.
    Raises `UserError` where there is no template, or where it fails or exceeds the limits of time, memory or length.
    """
    if tokenizer.template is None:
        raise UserError(
            _("{name} has no chat template; leave out {chat}, or choose a model made for chat, such as smollm2"),
            name=tokenizer.name,
            chat=Option("chat"),
        )
    rendered = render_template(
        tokenizer.template,
        tokenizer.name,
        messages,
        add_generation_prompt=add_generation_prompt,
        continue_final=continue_final,
    )
    ids, starts = tokenizer.inner_starts(rendered.text, special=True)
    places = _places(rendered, messages)
    if places is None:
        return Chat(rendered.text, tuple(ids), ())
    roles, place = [], 0
    for start in starts:
        while place < len(places) and places[place][1] <= start:
            place += 1
        inside = place < len(places) and places[place][0] <= start
        roles.append(places[place][2] if inside else TEMPLATE)
    return Chat(rendered.text, tuple(ids), _spans(tokenizer, ids, roles))


def spans_of(tokenizer: Tokenizer, ids: Sequence[int], prompt: Sequence[Span] = ()) -> tuple[Span, ...]:
    """The spans of a prompt and of what was generated after it; `prompt` are the spans of the prompt.

    Generated tokens are the assistant's; special tokens among them, such as the end of a turn, are the template's.
    """
    roles = [span.role for span in prompt for _ in range(span.start, span.end)][: len(ids)]
    for id in ids[len(roles) :]:
        special = not tokenizer.spelled(id) and not thinking.is_marker(tokenizer.piece(id))
        roles.append(TEMPLATE if special or id in tokenizer.stops else ASSISTANT)
    return _spans(tokenizer, ids, roles)


def _spans(tokenizer: Tokenizer, ids: Sequence[int], roles: Sequence[str]) -> tuple[Span, ...]:
    """Runs of tokens of one role. Thinking is looked for where the assistant speaks and in the template around that."""
    thinks = [False] * len(ids)
    at = 0
    for own, run in groupby(roles, key=lambda role: role in (TEMPLATE, ASSISTANT)):
        end = at + len(list(run))
        if own and (end == len(ids) or ASSISTANT in roles[at:end]):
            said = next((n for n in range(at, end) if roles[n] == ASSISTANT), end) - at
            thinks[at:end] = thinking.find([tokenizer.piece(id) for id in ids[at:end]], said)
        at = end
    spans, at = [], 0
    for (role, thought), group in groupby(zip(roles, thinks, strict=True)):
        end = at + len(list(group))
        spans.append(Span(at, end, role, thought))
        at = end
    return tuple(spans)


def _places(rendered: Rendered, messages: Sequence[Message]) -> list[tuple[int, int, str]] | None:
    """First and last character, and role, of each message in the rendered text; None where one cannot be found."""
    if rendered.skeleton is None:
        return None
    parts = _PLACEHOLDER.split(rendered.skeleton)  # literal, number, literal, number, …, literal
    literals, numbers = parts[::2], list(map(int, parts[1::2]))
    if not rendered.text.startswith(literals[0]) or any(number >= len(messages) for number in numbers):
        return None
    places: list[tuple[int, int, str]] = []
    at = len(literals[0])
    for number, literal in zip(numbers, literals[1:], strict=True):
        last = len(places) == len(numbers) - 1
        end = _end(rendered.text, at, messages[number].content, literal, last)
        if end is None:
            return None
        places.append((at, end, messages[number].role))
        at = end + len(literal)
    return places if at == len(rendered.text) else None


def _end(text: str, at: int, content: str, literal: str, last: bool) -> int | None:
    """Where a message that begins at `at` ends: before `literal`, which the template writes after it."""
    for form in _forms(content):
        if text.startswith(form + literal, at) and (not last or len(text) == at + len(form + literal)):
            return at + len(form)
    if last:  # the template changed the message
        return len(text) - len(literal) if text.endswith(literal) and at + len(literal) <= len(text) else None
    found = text.find(literal, at) if literal else -1
    return None if found < 0 else found


def _forms(content: str) -> Iterator[str]:
    """A message as templates write it: as it is, or without the white space around it."""
    yield from dict.fromkeys((content, content.strip(), content.rstrip(), content.lstrip()))
