"""The other side of a comparison: a second walk that follows the first, with another model or another sampler."""

from collections.abc import Iterator

from core.evaluation.compare import Side, align, compare, counterpart
from core.loading.choice import ModelChoice
from core.loading.model import Model
from core.loading.models import load_model
from core.progress import Progress
from core.sampling.sampler import Sampler
from core.tokenizers.chat import encode
from core.tokenizers.tokenizer import same_tokens
from core.walk.session import Session
from core.walk.values import OtherSide

LAST_PIECES = 8
"""Tokens before the cursor that an answer contains."""


class SideBySide:
    """Keeps the second walk, with its model and cache, from one request to the next; belongs to the model's thread."""

    def __init__(self) -> None:
        self._choice: ModelChoice | None = None
        self._session: Session | None = None

    def face(
        self, walk: Session, choice: ModelChoice, sampler: Sampler, prompt: str | None = None
    ) -> Iterator[Progress | OtherSide]:
        """Compare the next-token distribution of `walk` with that of `choice` at the same position.

        With `prompt` the other side stands after that text instead. If the tokenizers differ, it stands at the last
        position before the cursor that lies between two tokens for both. Progress comes first, the answer last. Raises
        `UserError` for a model that cannot be loaded or a text that one of them cannot encode.
        """
        session = self._session
        if session is None or choice != self._choice:
            yield Progress(0, 1)
            self._session = None  # releases its memory before the next model is loaded
            session = Session(self._model(walk, choice), sampler)
            self._choice, self._session = choice, session
        session.sampler = sampler
        ids, cursor, prompt_length = self._ids(walk, session.model, prompt)
        yield from session.prefill(ids)
        session.travel(cursor)
        yield from session.read()
        if prompt is None and same_tokens(session.model.tokenizer, walk.model.tokenizer):
            context = walk.draws.context(session.reader, sampler)
        else:
            context = session.reader.context(session.tokens[:cursor], prompt_length, sampler, 0)
        own_context = walk.draws.context(walk.reader, walk.sampler)
        a = Side(walk.distribution(), walk.model.tokenizer, walk.sampler, own_context)
        b = Side(session.distribution(), session.model.tokenizer, sampler, context)
        pieces = tuple(token.piece for token in session.tokens[max(0, cursor - LAST_PIECES) : cursor])
        yield OtherSide(session.info, sampler, compare(a, b), cursor, len(session.tokens), pieces)

    def _model(self, walk: Session, choice: ModelChoice) -> Model:
        return walk.model if choice == walk.model.choice else load_model(choice)

    def _ids(self, walk: Session, model: Model, prompt: str | None) -> tuple[list[int], int, int]:
        """The ids of the other side, its cursor, and how many ids before the cursor are its prompt."""
        tokenizer, own_tokenizer = model.tokenizer, walk.model.tokenizer
        if prompt is not None:
            ids = encode(tokenizer, prompt) or [tokenizer.end_of_text]
            return ids, len(ids), len(ids)
        own_ids, own_prompt = [token.id for token in walk.tokens], min(walk.cursor, walk.prompt_length)
        if same_tokens(tokenizer, own_tokenizer):
            return own_ids, walk.cursor, own_prompt
        ids = tokenizer.encode(own_tokenizer.written(own_ids)) or [tokenizer.end_of_text]
        boundaries = align(own_tokenizer.spell(own_ids), tokenizer.spell(ids))
        cursor, prompt_length = (max(1, counterpart(boundaries, end).tokens_b) for end in (walk.cursor, own_prompt))
        return ids, cursor, prompt_length
