"""Scores a text: probability, rank and entropy for each token, in the distribution after the tokens before it.

A text longer than the context T is read in windows of T tokens that begin T / 2 tokens apart. A window predicts only
the tokens that the window before did not. The method is that of Hugging Face's page "Perplexity of fixed-length
models" (there with a free stride), with one addition: the last token of a window predicts too.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from core.engine.prefix import CHUNK
from core.errors import UserError
from core.evaluation.values import ScoredText, ScoredToken
from core.formats.text import well_formed
from core.language import _
from core.loading.model import Model
from core.progress import Progress
from core.sampling.next_distribution import NextDistribution
from core.sampling.values import Score
from core.tokenizers.tokenizer import Tokenizer

LOGIT_ROWS = 32
"""Positions whose logits are in memory at the same time."""


class Window(NamedTuple):
    """The tokens from `start` up to `end` are read; the logits after those from `first` on are used."""

    start: int
    end: int
    first: int


class PositionDistribution(NamedTuple):
    """The distribution of the token after one position of a text."""

    position: int
    context: int
    """The number of tokens it was computed from, up to and including that position."""
    distribution: NextDistribution


def windows(length: int, context: int) -> Iterator[Window]:
    """The windows over `length` tokens; every token is used by exactly one of them."""
    start = end = 0
    while end < length:
        first, end = end, min(start + context, length)
        yield Window(start, end, first)
        start += max(1, context // 2)


def min_context(length: int, context: int) -> int:
    """The smallest number of tokens that predict one of `length` tokens, except where there are fewer before it."""
    return context if length <= context else context - max(1, context // 2) + 1


def distributions_after(
    model: Model, ids: Sequence[int], positions: Sequence[int]
) -> Iterator[PositionDistribution | None]:
    """The distribution after each of the ascending `positions` of `ids`, and None after each chunk that was read.

    At most `LOGIT_ROWS` of them and the states and KV cache of one window are in memory.
    """
    for start, end, first in windows(positions[-1] + 1, model.info.context):
        in_window = [p - start for p in positions[bisect_left(positions, first) : bisect_left(positions, end)]]
        sequence = model.sequences(whole=True)
        sequence.append([list(ids[start:end])])
        for first_row in range(0, len(in_window), LOGIT_ROWS):
            batch = in_window[first_row : first_row + LOGIT_ROWS]
            end_of_chunk = (batch[-1] // CHUNK + 1) * CHUNK - 1
            for _unused in sequence.read([*batch, min(end_of_chunk, in_window[-1])]):
                yield None
            for position, (distribution,) in zip(batch, sequence.distributions(batch), strict=True):
                yield PositionDistribution(start + position, position + 1, distribution)


def score(model: Model, ids: Sequence[int], text: str | None = None) -> Iterator[Progress | ScoredText]:
    """The score of each token of a text (teacher forcing); progress first, the result last.

    No distribution predicts the first token, so it is not scored and no sum includes it. Every other token is predicted
    from all tokens before it where these fit into the context T, otherwise from the last T - ⌊T / 2⌋ + 1 to T of them.
    `text` is what was encoded to `ids`; its bytes are counted where given, else those that the tokens spell.
    Raises `UserError` for fewer than two tokens and for an id outside V.
    """
    pieces = [model.tokenizer.piece(id) for id in ids]
    if len(ids) < 2:
        raise UserError(
            _(
                "a text of {count} tokens cannot be scored: the first token has nothing before it to predict it from; "
                "give at least 2 tokens"
            ),
            count=len(ids),
        )
    return _score(model, ids, pieces, text)


def _score(
    model: Model, ids: Sequence[int], pieces: Sequence[bytes], text: str | None
) -> Iterator[Progress | ScoredText]:
    total = len(ids) - 1
    tokens: list[ScoredToken] = []
    yield Progress(0, total)
    for start, end, first in windows(total, model.info.context):
        sequence = model.sequences()
        sequence.append([list(ids[start : end + 1])])
        found = dict[int, Score]()
        for group in sequence.scores(range(first - start + 1, end - start + 1)):
            found |= group
            yield Progress(len(tokens) + len(found), total)
        for at in sorted(found):
            tokens.append(ScoredToken(start + at, ids[start + at], pieces[start + at], found[at], at))
    yield Progress(total, total)
    byte_count = _bytes_after_first(model.tokenizer, ids, text)
    rewritten = text is not None and model.tokenizer.written(ids) != well_formed(text)
    yield ScoredText(ids[0], pieces[0], tuple(tokens), min_context(total, model.info.context), byte_count, rewritten)


def _bytes_after_first(tokenizer: Tokenizer, ids: Sequence[int], text: str | None) -> int:
    """Bytes of `text` that are not of the first of its `ids`; without a text, those that the ids stand for."""
    if text is not None and tokenizer.begin and tuple(ids[: len(tokenizer.begin)]) == tokenizer.begin:
        return len(well_formed(text).encode())  # BOS is no part of the text
    for special in (False, True) if text is not None else ():
        inner, starts = tokenizer.inner_starts(text or "", special=special)
        if inner[:2] == list(ids[:2]):
            return len(well_formed(text or "")[starts[1] :].encode())
    return sum(map(len, tokenizer.typed(ids)[1:]))
