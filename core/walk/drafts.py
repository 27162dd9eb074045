"""Speculative decoding in a walk: a draft model's proposals, and what the model of the walk made of them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.errors import UserError
from core.generation.speculative import Speculation, kept
from core.generation.token import Token
from core.language import _
from core.loading.draft import load_draft
from core.loading.model import Model
from core.walk.values import DraftView

if TYPE_CHECKING:
    from core.walk.session import Session

SHOWN = 200
"""Rounds at most that are kept to be shown."""


class Drafts:
    """Generates with a draft model; the rounds of the last generation are kept. The draft stays loaded."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._model: Model | None = None
        self.view = DraftView()
        """The last generation with a draft."""

    def generate(self, name: str, proposals: int, count: int) -> Iterator[Token]:
        """Up to `count` tokens at the cursor, `proposals` in a round of the draft `name`.

        Raises `UserError` for a draft that is not here or has other tokens, and while patches are active.
        """
        session = self._session
        if session.patches:
            raise UserError(
                _(
                    "the model has patches, but speculative decoding judges a draft by the unpatched model; remove "
                    "them first"
                )
            )
        if self._model is None or self._model.info.name != name:
            self._model = load_draft(session.model, name)
        start, prompt_length = session.before_cursor()
        text = Speculation(session.model, self._model, start, prompt_length, session.sampler, proposals)
        self.view = DraftView(name, proposals)
        done = 0
        while done < count and not text.ended:
            found = text.round(count - done)
            self.view = self.view.with_round(found, SHOWN)
            for token in found.tokens:
                written = kept(token)
                session.history.extend(session.cursor, written)
                done += 1
                yield written
