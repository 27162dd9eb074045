"""Owns scoring a text: what a model thought of each of its tokens before it came (teacher forcing).

A text longer than the context is read in windows that overlap by half, the method of Hugging Face's page "Perplexity of
fixed-length models" (there with the stride as a choice): a window is T tokens long, begins half a context after the one
before, and only predicts what that one did not. One thing is more than there: the last token of a window predicts too.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from core.engine.prefix import CHUNK, Prefix
from core.errors import UserError
from core.evaluation.values import Scored, ScoredToken
from core.loading.models import Model
from core.progress import Progress
from core.sampling.distribution import Distribution

AT_ONCE = 32
"""Positions whose logits are held at the same time."""


class Window(NamedTuple):
    """Tokens `start` to `end` are read; those from `first` on predict."""

    start: int
    end: int
    first: int


class ScoreRow(NamedTuple):
    """Logits of the token after one position."""

    position: int
    seen: int
    """How many tokens the model saw, up to that position."""
    logits: Tensor
    """[V]."""


def windows(length: int, context: int) -> Iterator[Window]:
    """The windows in which `length` tokens are read, each of which predicts once."""
    start = end = 0
    while end < length:
        first, end = end, min(start + context, length)
        yield Window(start, end, first)
        start += max(1, context // 2)


def context_at_least(length: int, context: int) -> int:
    """How many tokens a prediction after `length` tokens or fewer is made from, where there are so many."""
    return context if length <= context else context - max(1, context // 2) + 1


def rows(model: Model, ids: Sequence[int], positions: Sequence[int]) -> Iterator[ScoreRow | None]:
    """Logits after each of the ascending `positions` of `ids`, and None wherever something was read.

    At most `AT_ONCE` rows and the states and cache of one window are held.
    """
    for start, end, first in windows(positions[-1] + 1, model.info.context):
        here = [p - start for p in positions[bisect_left(positions, first) : bisect_left(positions, end)]]
        prefix = Prefix(model.transformer)
        prefix.append([list(ids[start:end])])
        for at in range(0, len(here), AT_ONCE):
            batch = here[at : at + AT_ONCE]
            whole_chunk = (batch[-1] // CHUNK + 1) * CHUNK - 1
            for _ in prefix.read([min(whole_chunk, here[-1])]):
                yield None
            for position, logits in zip(batch, prefix.logits(batch)[0], strict=True):
                yield ScoreRow(start + position, position + 1, logits)


def score(model: Model, ids: Sequence[int]) -> Iterator[Progress | Scored]:
    """What `model` thought of each token of a text; readings as it goes on, the answer last.

    Nothing predicts the first token, so it is not scored, and neither it nor its bytes count in any sum. Every other
    one was predicted from all tokens before it where these fit into the context T, and otherwise from the last
    T - ⌊T / 2⌋ + 1 to T of them. Raises `UserError` for fewer than two tokens or an id outside V.
    """
    pieces = [model.tokenizer.piece(id) for id in ids]
    if len(ids) < 2:
        raise UserError(
            f"there must be two tokens at least, not {len(ids)}: nothing predicts the first; give more text"
        )
    return _score(model, ids, pieces)


def _score(model: Model, ids: Sequence[int], pieces: Sequence[bytes]) -> Iterator[Progress | Scored]:
    total = len(ids) - 1
    tokens: list[ScoredToken] = []
    yield Progress(0, total)
    for row in rows(model, ids, range(total)):
        if row is None:
            yield Progress(len(tokens), total)
        else:
            at = row.position + 1
            tokens.append(ScoredToken(at, ids[at], pieces[at], Distribution(row.logits).score(ids[at]), row.seen))
            if len(tokens) % AT_ONCE == 0:
                yield Progress(len(tokens), total)
    yield Progress(total, total)
    yield Scored(ids[0], pieces[0], tuple(tokens), context_at_least(total, model.info.context))
