"""The turns of a conversation in a walk: where the next message begins, and how it is written."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.progress import Progress
from core.tokenizers.chat import Span
from core.walk import conversation
from core.walk.history import WalkPosition
from core.walk.tree import Node
from core.walk.values import PromptForm

if TYPE_CHECKING:
    from core.walk.session import Session


class Turns:
    """Writes the user's messages into the walk of a session."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._left: tuple[str, list[Node], str] | None = None
        """The plain text that a conversation became, the conversation's nodes, and its last message as it was typed."""

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

    @property
    def spans(self) -> tuple[Span, ...]:
        """Who says which tokens; empty where the walk is no conversation, or without its model."""
        session = self._session
        return conversation.spans(session.model.tokenizer, session.tokens) if session.available else ()

    @property
    def plain_text(self) -> str:
        """What user and model have said, without the chat template; of a single message the message."""
        session = self._session
        said = [
            each for each in conversation.messages(session.model.tokenizer, session.tokens) if each.role != "system"
        ]
        if len(said) < 2:
            return session.first_prompt
        return "\n\n".join(each.content.strip() for each in said)

    def switch(self, form: PromptForm) -> Iterator[Progress]:
        """Take the conversation out of the chat template, as one plain text, or put the prompt into it.

        A conversation that became the present prompt is gone on with where it was. Raises `UserError` as `write`.
        """
        session = self._session
        if not form.chat:
            path, text = list(session.history.path), self.plain_text
            left = text, path, session.prompt
            reading = session.write(text, form)
            self._left = left if path and path[0].token.role else None
            return reading
        if self._left is None or self._left[0] != session.first_prompt:
            return session.write(session.first_prompt, form, turn=0)
        _text, path, last = self._left
        kept = next((n for n, node in enumerate(path) if session.tree.nodes.get(node.serial) is not node), len(path))
        if not kept:
            return session.write(last, form, turn=0)
        session.history.stand(WalkPosition(path[kept - 1], kept))
        return session.read() if kept == len(path) else session.write(last, form, turn=kept)

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
