"""Owns one walk: token ids in, events out. Prefill, step, take, draw again, take back, redo, travel.

Whatever may take long is an iterator that pauses between pieces of work, so a caller can paint, or stop, in between.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from core.config import Sampler
from core.errors import Mistake
from core.events import Candidate, Chart, Draw, Reading, Snapshot, Token, common_prefix
from core.models import Model
from core.prefix import Prefix
from core.sampling import Distribution, chart, draw, scores, uniform

SHOWN = 50
"""Candidates in the chart of a snapshot."""
SCORED_AT_ONCE = 32
"""Positions whose logits are held at the same time."""
SCORED_BEYOND = 131_072
"""Window tokens that may be read for the sake of scoring a prompt longer than the context."""


@dataclass(frozen=True, slots=True)
class Edit:
    """`removed` stood where `added` stands now, from token `at` on."""

    at: int
    removed: tuple[Token, ...]
    added: tuple[Token, ...]
    cursor: int
    """Where the cursor was before."""
    prompt_length: int
    """How long the prompt was before."""

    def unscored(self) -> "Edit":
        """The same edit for another model, which will think otherwise of its tokens."""
        return replace(self, removed=_unscored(self.removed), added=_unscored(self.added))


def _unscored(tokens: Sequence[Token]) -> tuple[Token, ...]:
    return tuple(replace(token, score=None) for token in tokens)


class Session:
    """A walk through one model. Not thread-safe: it belongs to the thread that runs the model."""

    def __init__(self, model: Model, sampler: Sampler = Sampler()) -> None:
        self.model = model
        self.sampler = sampler
        self.tokens: list[Token] = []
        self.prompt_length = 0
        self.cursor = 0
        self._prefix = Prefix(model.transformer)
        self._done: list[Edit] = []
        self._undone: list[Edit] = []
        self._latest: tuple[int, Distribution] | None = None
        self._piece = model.tokenizer.piece

    # The prompt ------------------------------------------------------------------------------------------------------

    def prefill(self, ids: Sequence[int]) -> Iterator[Reading]:
        """Make `ids` the prompt at once, and read it as the iterator goes on; an empty one starts from `<|endoftext|>`.

        What it shares with the tokens before keeps its cache. Raises `Mistake` for an id outside V.
        """
        ids = list(ids) or [self.model.tokenizer.end_of_text]
        tokens = [Token(id, self._piece(id)) for id in ids]
        same = common_prefix(self.tokens, tokens)
        tokens[:same] = [Token(token.id, token.piece, score=token.score) for token in self.tokens[:same]]
        self._rewind(same)
        self.tokens = tokens
        self._append(ids[same:])
        self.prompt_length = self.cursor = len(ids)
        self._done.clear()
        self._undone.clear()
        return self.read()

    def read(self) -> Iterator[Reading]:
        """Read what the chart at the cursor needs."""
        position = self.cursor - 1
        total = position + 1 if position < self.model.info.context else 1  # beyond it only the last window is read
        if not self._prefix.knows(position):
            yield Reading(0, total)
            for done in self._prefix.read([position]):
                yield Reading(done, total)

    def unscored(self) -> bool:
        """Whether a token waits for `score`."""
        return any(token.score is None for token in self.tokens[1:])

    def score(self) -> Iterator[None]:
        """Measure the tokens that have no score yet, a few positions at a time, the last ones first."""
        context, reach = self.model.info.context, self.model.transformer.config.reach
        missing = [at for at in range(len(self.tokens) - 1, 0, -1) if self.tokens[at].score is None]
        beyond = [at for at in missing if at > context][: SCORED_BEYOND // reach]
        wanted = beyond + [at for at in missing if at <= context]
        for first in range(0, len(wanted), SCORED_AT_ONCE):
            batch = wanted[first : first + SCORED_AT_ONCE]
            before = [at - 1 for at in batch]
            for _ in self._prefix.read(before):
                yield
            measured = scores(self._prefix.logits(before)[0], [self.tokens[at].id for at in batch])
            for at, score in zip(batch, measured, strict=True):
                self.tokens[at] = replace(self.tokens[at], score=score)
            yield

    # Steps -----------------------------------------------------------------------------------------------------------

    def step(self) -> Token:
        """Sample one token at the cursor and move onto it; what stood behind the cursor is kept for `take_back`."""
        return self._sample(self.cursor, redraw=0)

    def generate(self, count: int) -> Iterator[Token]:
        """`count` steps, one at a time (S9)."""
        for _ in range(count):
            yield self.step()

    def take(self, id: int) -> Token:
        """Put a chosen token at the cursor and move onto it."""
        token = Token(id, self._piece(id), "chosen", self.distribution().score(id))
        self._replace(self.cursor, token)
        return token

    def redraw(self) -> Token:
        """Draw the token under the cursor again from the same distribution. Raises `Mistake` where none was drawn."""
        if self.cursor <= self.prompt_length:
            raise Mistake("nothing was drawn here yet; press space for a first draw")
        last = self.cursor - 1
        return self._sample(last, self.tokens[last].redraw + 1)

    def _sample(self, at: int, redraw: int) -> Token:
        u = uniform(self.sampler.seed, at, redraw)
        drawn = draw(self._distribution_before(at), self.sampler, u)
        token = sampled_token(drawn, self._piece(drawn.id), redraw)
        self._replace(at, token)
        return token

    def take_back(self) -> None:
        """Undo the last step, choice or draw. Raises `Mistake` where there is none."""
        if not self._done:
            raise Mistake("nothing to take back; the prompt is edited with i")
        edit = self._done.pop()
        self._undone.append(edit)
        self._put(edit.at, edit.removed)
        self.cursor, self.prompt_length = edit.cursor, edit.prompt_length

    def redo(self) -> None:
        """Do again what was taken back. Raises `Mistake` where nothing was."""
        if not self._undone:
            raise Mistake("nothing to redo")
        edit = self._undone.pop()
        self._done.append(edit)
        self._put(edit.at, edit.added)
        self._stand_after(edit)

    def travel(self, cursor: int) -> None:
        """Look at the place after `cursor` tokens; beyond an end means that end."""
        self.cursor = max(1, min(cursor, len(self.tokens)))

    def _replace(self, at: int, token: Token) -> None:
        edit = Edit(at, tuple(self.tokens[at:]), (token,), self.cursor, self.prompt_length)
        self._done.append(edit)
        self._undone.clear()
        self._put(at, edit.added)
        self._stand_after(edit)

    def _stand_after(self, edit: Edit) -> None:
        self.cursor = edit.at + len(edit.added)
        self.prompt_length = min(edit.prompt_length, edit.at)

    def _put(self, at: int, tokens: tuple[Token, ...]) -> None:
        self._rewind(at)
        del self.tokens[at:]
        self.tokens.extend(tokens)
        self._append([token.id for token in tokens])

    def _rewind(self, length: int) -> None:
        self._prefix.rewind(length)
        if self._latest and self._latest[0] > length:
            self._latest = None

    def _append(self, ids: Sequence[int]) -> None:
        if ids:
            self._prefix.append([ids])

    # What is seen ----------------------------------------------------------------------------------------------------

    def distribution(self) -> Distribution:
        """What comes after the cursor."""
        return self._distribution_before(self.cursor)

    def _distribution_before(self, at: int) -> Distribution:
        if self._latest is None or self._latest[0] != at:
            self._latest = at, Distribution(self._prefix.logits([at - 1])[0, 0])
        return self._latest[1]

    def chart(self, count: int = SHOWN) -> Chart:
        """The `count` likeliest tokens after the cursor under the present sampler, and the one that came, if any."""
        taken = self.tokens[self.cursor].id if self.cursor < len(self.tokens) else None
        return chart(self.distribution(), self.sampler, count, self._piece, taken)

    def snapshot(self) -> Snapshot:
        """The walk as it stands; the distribution at the cursor is read where it is not known."""
        return Snapshot(
            tokens=tuple(self.tokens),
            prompt_length=self.prompt_length,
            cursor=self.cursor,
            window=max(0, self.cursor - self.model.info.context),
            sampler=self.sampler,
            can_take_back=bool(self._done),
            can_redo=bool(self._undone),
            chart=self.chart() if self.tokens else None,
        )

    def moved_to(self, model: Model) -> "Session":
        """The same walk in another model with the same tokenizer, at the same token; nothing is read or scored yet."""
        session = Session(model, self.sampler)
        session.tokens = list(_unscored(self.tokens))
        session.prompt_length, session.cursor = self.prompt_length, self.cursor
        session._append([token.id for token in self.tokens])
        session._done = [edit.unscored() for edit in self._done]
        session._undone = [edit.unscored() for edit in self._undone]
        return session


def sampled_token(drawn: Draw, piece: bytes, redraw: int = 0) -> Token:
    """A draw as a token of the walk."""
    return Token(drawn.id, piece, "sampled", drawn.score, drawn.u, drawn.sampled_probability, redraw)


class Batch:
    """Several continuations of one prompt, run as one batch (S6, S10).

    Continuation i draws with seed + i, so the first is what `Session` would draw. Raises `Mistake` for an id outside V.
    """

    def __init__(self, model: Model, ids: Sequence[int], sampler: Sampler, samples: int) -> None:
        ids = list(ids) or [model.tokenizer.end_of_text]
        for id in ids:
            model.tokenizer.piece(id)
        prefix = Prefix(model.transformer)
        prefix.append([ids])
        for _ in prefix.read([len(ids) - 1]):
            pass
        self._prefix = prefix.repeat(samples)
        self._samplers = [replace(sampler, seed=sampler.seed + i) for i in range(samples)]
        self._piece = model.tokenizer.piece
        self._distributions: list[Distribution] = []

    def step(self) -> list[Draw]:
        """Draw one token for each continuation."""
        at = self._prefix.length
        self._distributions = [Distribution(row) for row in self._prefix.logits([at - 1])[:, 0]]  # rows of [B, V]
        drawn = [
            draw(distribution, sampler, uniform(sampler.seed, at))
            for distribution, sampler in zip(self._distributions, self._samplers, strict=True)
        ]
        self._prefix.append([[one.id] for one in drawn])
        return drawn

    def top(self, sample: int, count: int) -> tuple[Candidate, ...]:
        """The likeliest tokens that the last draw of a continuation was made among."""
        return chart(self._distributions[sample], self._samplers[sample], count, self._piece).candidates
