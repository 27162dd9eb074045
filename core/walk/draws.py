"""Draws in a walk: the number u and the context with which a token is drawn, and the draw itself."""

from dataclasses import replace
from typing import TYPE_CHECKING

from core.generation.batch import sampled_token
from core.generation.token import Token
from core.sampling.context import DrawContext
from core.sampling.draw import uniform
from core.sampling.sampler import Sampler
from core.walk.model_reader import ModelReader
from core.walk.tree import Node

if TYPE_CHECKING:
    from core.walk.session import Session


class Draws:
    """Draws tokens of a session's walk under its sampler; each draw at a node has its own number u."""

    def __init__(self, session: "Session") -> None:
        self._session = session

    def sample(self, at: int, again: bool) -> Token:
        """Draw the token after the first `at` tokens, which ends the walk; `again` counts the draws before it."""
        session = self._session
        sampler, prompt_length = session.sampler, min(at, session.prompt_length)
        redraw = self._count(session.history.path[at - 1]) if again else 0
        context = session.reader.context(session.tokens[:at], prompt_length, sampler, redraw)
        drawn = session.reader.draw(at, sampler, uniform(sampler.seed, at, redraw), context)
        piece = session.model.tokenizer.piece(drawn.id)
        token = sampled_token(drawn, piece, sampler, session.info, redraw)
        session.history.extend(at, token)
        session.reader.begin(session.cursor)
        return token

    def u(self) -> float:
        """The number u of the token at the cursor, as it was drawn or would be."""
        session, cursor = self._session, self._session.cursor
        u = session.tokens[cursor].u if cursor < len(session.tokens) else None
        if u is None:
            seed, redraw = self._present_draw()
            u = uniform(seed, cursor, redraw)
        return u

    def context(self, reader: ModelReader, sampler: Sampler) -> DrawContext:
        """What the stages of `sampler` may know at the cursor, for a model with the same tokens.

        The second number of the draw is that of the token at the cursor, as it was drawn or would be.
        """
        seed, redraw = self._present_draw()
        tokens, prompt_length = self._session.before_cursor()
        return reader.context(tokens, prompt_length, replace(sampler, seed=seed), redraw)

    def _present_draw(self) -> tuple[int, int]:
        """The seed of the token at the cursor, and how often it was drawn again."""
        session, cursor = self._session, self._session.cursor
        token = session.tokens[cursor] if cursor < len(session.tokens) else None
        if token and token.sampler:
            return token.sampler.seed, token.redraw
        return session.sampler.seed, self._count(session.history.current) if token else 0

    def _count(self, node: Node) -> int:
        """How many tokens this model drew after `node` with this seed."""
        session = self._session
        return max(
            (
                1 + token.redraw
                for token in (child.token for child in node.children.values())
                if token.sampler and token.sampler.seed == session.sampler.seed and token.model == session.info
            ),
            default=0,
        )
