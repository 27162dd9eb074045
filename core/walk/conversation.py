"""A conversation as tokens of a walk: the ids of a message in the model's chat template, and the roles of tokens.

What was generated is never tokenized again. A later message is appended to the ids of the walk, with what the template
writes between the answer before it and the next answer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from core.errors import UserError
from core.generation.token import Token
from core.language import _
from core.tokenizers import chat
from core.tokenizers.chat import ASSISTANT, TEMPLATE, Span
from core.tokenizers.chat_template import Message
from core.tokenizers.tokenizer import Tokenizer

USER = "user"
NO_ANSWER = "…"
"""Stands for an answer without text, so that the template writes the same around it."""


def first(tokenizer: Tokenizer, text: str, system: str = "") -> list[Token]:
    """The tokens of a conversation that begins with the message `text` of the user, up to the model's answer.

    Raises `UserError` where there is no chat template, or where it fails.
    """
    rendered = chat.render(tokenizer, chat.first_messages(text, system))
    return _tokens(tokenizer, rendered.ids, _roles(rendered) or [TEMPLATE] * len(rendered.ids))


def following(tokenizer: Tokenizer, tokens: Sequence[Token], text: str) -> list[Token]:
    """The tokens of a further message of the user after `tokens`, which end with an answer, up to the next answer.

    Raises `UserError` where the template fails, or changes messages so that they cannot be found in what it writes.
    """
    before = messages(tokenizer, tokens)
    if not before or before[-1].role != ASSISTANT:
        before.append(Message(ASSISTANT, NO_ANSWER))
    rendered = chat.render(tokenizer, [*before, Message(USER, text)])
    roles = _roles(rendered)
    answers = [place for place, role in enumerate(roles) if role == ASSISTANT]
    if not answers:
        raise UserError(
            _(
                "the chat template of {name} changes its messages, so the conversation cannot go on; edit the first "
                "message instead"
            ),
            name=tokenizer.name,
        )
    start = answers[-1] + 1
    ids, ended = list(rendered.ids[start:]), [token.id for token in tokens]
    closed = next((n for n in range(min(8, len(ids)), 0, -1) if ended[-n:] == ids[:n]), 0)
    return _tokens(tokenizer, ids[closed:], roles[start + closed :])


def messages(tokenizer: Tokenizer, tokens: Sequence[Token]) -> list[Message]:
    """The messages that tokens of a conversation say, without what the template adds."""
    found: list[Message] = []
    for role, group in groupby(spans(tokenizer, tokens), key=lambda span: span.role):
        if role != TEMPLATE:
            runs = list(group)
            ids = [token.id for token in tokens[runs[0].start : runs[-1].end]]
            found.append(Message(role, tokenizer.text(ids)))
    return found


def spans(tokenizer: Tokenizer, tokens: Sequence[Token]) -> tuple[Span, ...]:
    """Who says which tokens, and where the model thinks; empty where they are no conversation."""
    if not tokens or not tokens[0].role:
        return ()
    return tuple(_spans(tokenizer, tokens))


def _spans(tokenizer: Tokenizer, tokens: Sequence[Token]) -> Iterator[Span]:
    """Turn by turn: the tokens that were given, then those that were generated."""
    at = 0
    while at < len(tokens):
        answer = next((n for n in range(at, len(tokens)) if not tokens[n].role), len(tokens))
        end = next((n for n in range(answer, len(tokens)) if tokens[n].role), len(tokens))
        given, start = list[Span](), 0
        for role, group in groupby(tokens[at:answer], key=lambda token: token.role):
            given.append(Span(start, start := start + len(list(group)), role))
        for span in chat.spans_of(tokenizer, [token.id for token in tokens[at:end]], given):
            yield replace(span, start=span.start + at, end=span.end + at)
        at = end


def _roles(rendered: chat.Chat) -> list[str]:
    """The role of each token."""
    return [span.role for span in rendered.spans for _ in range(span.start, span.end)]


def _tokens(tokenizer: Tokenizer, ids: Sequence[int], roles: Sequence[str]) -> list[Token]:
    return [Token(id, tokenizer.piece(id), role=role) for id, role in zip(ids, roles, strict=True)]
