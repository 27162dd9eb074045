"""The turns of a conversation in a walk: where the next message begins, and how it is written."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.progress import Progress
from core.tokenizers.chat import Span
from core.tokenizers.tokenizer import piece_text
from core.walk import conversation

if TYPE_CHECKING:
    from core.walk.session import Session


class Turns:
    """Writes the user's messages into the walk of a session."""

    def __init__(self, session: "Session") -> None:
        self._session = session

    @property
    def answered(self) -> bool:
        """Whether the walk ends with the end of an answer, after which the model would speak for the user."""
        tokens = self._session.tokens
        if not tokens or not tokens[0].role or self._session.cursor < len(tokens):
            return False
        return tokens[-1].id in self._session.model.stops and not tokens[-1].role

    @property
    def next(self) -> int:
        """Where the message begins that is written next: at the cursor after an answer, else where its tokens begin.

        0 is the first message, which is the prompt.
        """
        tokens, cursor = self._session.tokens, self._session.cursor
        if cursor <= self._session.prompt_length:
            return 0
        return next((n for n in range(cursor, 0, -1) if tokens[n - 1].origin != "prompt"), 0)

    def prompt(self) -> str:
        """The prompt as it was typed, or the part of it that the walk still follows.

        Of a conversation it is the last message before the cursor. A text that nobody typed is decoded once, and then
        belongs to the last node of the prompt.
        """
        session = self._session
        if not session.prompt_length:
            return ""
        tokens, at = session.tokens, session.cursor
        while at < len(tokens) and tokens[at].origin == "prompt":
            at += 1
        while tokens[at - 1].origin != "prompt":
            at -= 1
        last = session.history.path[at - 1]
        if last.text is None:
            prompt = [token for token in tokens[:at] if token.role in ("", "user") and token.origin == "prompt"]
            if session.available:
                last.text = session.model.tokenizer.written([token.id for token in prompt])
            else:
                last.text = piece_text(b"".join(token.piece for token in prompt))
            session.tree.touch(last)
        return last.text

    @property
    def spans(self) -> tuple[Span, ...]:
        """Who says which tokens; empty where the walk is no conversation, or without its model."""
        session = self._session
        return conversation.spans(session.model.tokenizer, session.tokens) if session.available else ()

    def write(self, text: str, system: str = "", turn: int | None = None) -> Iterator[Progress]:
        """Let `text` be the user's message at `turn` in the chat template of the model, and read it.

        The first message is the prompt, with the message `system` before it, if there is one. A later one follows the
        answer, and is removed where `text` is empty. Raises `UserError` where the model has no chat template, or where
        it fails.
        """
        session, tokenizer = self._session, self._session.model.tokenizer
        tokens = session.tokens
        if turn is None or (turn and (turn > len(tokens) or tokens[turn - 1].origin == "prompt")):
            turn = self.next
        if not turn:
            session.history.write_prompt(0, conversation.first(tokenizer, text, system), text)
        else:
            message = conversation.following(tokenizer, tokens[:turn], text) if text else []
            session.history.write_turn(turn, message, text)
        return session.read()
