"""A person's guesses of the next token in a walk."""

from typing import TYPE_CHECKING

from core.errors import UserError
from core.language import _
from core.sampling.bounds import low
from core.sampling.chart import chart
from core.walk.values import Guess

if TYPE_CHECKING:
    from core.walk.session import Session


class Guesses:
    """Compares guesses with the tokens of a session's walk, and keeps them."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self.made: list[Guess] = []

    def guess(self, text: str) -> Guess:
        """Compare a person's guess with the next token, which is drawn if the walk ends here, and move behind it.

        The guessed token is the first token of `text`, or, if that is likelier and `text` does not begin with white
        space, of `text` with a space before it. Raises `UserError` for an empty text.
        """
        session = self._session
        texts = (text, f" {text}") if text and not text[0].isspace() else (text,)
        first_ids = {ids[0] for each in texts if text and (ids := session.model.tokenizer.continuation(each))}
        if not first_ids:
            raise UserError(_("write what you think comes next; a letter is enough"))
        distribution, piece = session.distribution(), session.model.tokenizer.piece
        guessed = min(first_ids, key=lambda id: low(distribution.rank(id)))
        context = session.draws.context(session.reader, session.sampler)
        seen = chart(distribution, session.sampler, 1, piece, guessed, context)
        assert seen.taken is not None
        position = session.cursor
        if position < len(session.tokens):
            session.travel(position + 1)
        else:
            session.step()
        guess = Guess(position, seen.taken, seen.candidates[0], session.tokens[position])
        self.made.append(guess)
        return guess
