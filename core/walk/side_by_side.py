"""Owns the other side of a comparison: a second walk that follows the first, in another model or otherwise set."""

from collections.abc import Iterator

from core.evaluation.compare import Side, align, compare, counterpart
from core.loading.choice import ModelChoice
from core.loading.models import Model, load_model
from core.progress import Progress
from core.sampling.sampler import Sampler
from core.tokenizers.chat import encode
from core.walk.session import Session
from core.walk.values import OtherSide


class SideBySide:
    """Holds what the other side has loaded and read, from one question to the next; belongs to the model's thread."""

    def __init__(self) -> None:
        self._choice: ModelChoice | None = None
        self._session: Session | None = None

    def face(
        self, walk: Session, choice: ModelChoice, sampler: Sampler, prompt: str | None = None
    ) -> Iterator[Progress | OtherSide]:
        """What `choice` says comes next where `walk` stands, or after a `prompt` of its own, beside what `walk` says.

        Where the tokenizers differ it stands at the last place between tokens that both have. Readings come first, the
        answer last. Raises `UserError` for a model that cannot be loaded or a text that both cannot read.
        """
        session = self._session
        if session is None or choice != self._choice:
            yield Progress(0, 1)
            self._session = None  # before the next one takes its room
            session = Session(self._model(walk, choice), sampler)
            self._choice, self._session = choice, session
        session.sampler = sampler
        ids, cursor = self._place(walk, session.model, prompt)
        yield from session.prefill(ids)
        session.travel(cursor)
        yield from session.read()
        a = Side(walk.distribution(), walk.model.tokenizer, walk.sampler)
        b = Side(session.distribution(), session.model.tokenizer, sampler)
        pieces = tuple(token.piece for token in session.tokens[max(0, cursor - 8) : cursor])
        yield OtherSide(session.model.info, sampler, compare(a, b), cursor, len(session.tokens), pieces)

    def _model(self, walk: Session, choice: ModelChoice) -> Model:
        return walk.model if choice == walk.model.choice else load_model(choice)

    def _place(self, walk: Session, model: Model, prompt: str | None) -> tuple[list[int], int]:
        """The ids of the other side, and how many of them come before the same place."""
        words = model.tokenizer
        if prompt is not None:
            ids = encode(words, prompt) or [words.end_of_text]
            return ids, len(ids)
        ids = [token.id for token in walk.tokens]
        if words is walk.model.tokenizer:
            return ids, walk.cursor
        begin = len(walk.model.tokenizer.encode(""))
        text = b"".join(token.piece for token in walk.tokens[begin:]).decode("utf-8", "replace")
        other = words.encode(text) or [words.end_of_text]
        mine = [walk.model.tokenizer.spelled(id) for id in ids]
        at = counterpart(align(mine, [words.spelled(id) for id in other]), walk.cursor)
        return other, max(1, at.tokens_b)
