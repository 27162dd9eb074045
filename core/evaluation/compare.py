"""Compares two models, A and B: their next-token distributions at one position, or at every boundary of a text.

Models with the same tokens are compared over token ids. Others are compared over the next byte of the text: the
probability of a byte is the sum over all tokens that begin with it. Tokens that stand for no text (special ones, and
ids without meaning) are one further outcome. All logarithms are computed in float64.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor

from core.errors import UserError
from core.evaluation.divergence import divergences
from core.evaluation.score import LOGIT_ROWS, distributions_after, min_context
from core.evaluation.values import Boundary, ComparedPosition, ComparedText, Comparison, Divergence
from core.language import _
from core.loading.model import Model
from core.progress import Progress
from core.sampling.bounds import Bounded
from core.sampling.chart import chart
from core.sampling.context import DrawContext
from core.sampling.distribution import Distribution
from core.sampling.divergence import kl_bits_from_logprobs
from core.sampling.next_distribution import NextDistribution
from core.sampling.sampler import Sampler
from core.tokenizers.tokenizer import Tokenizer, same_tokens

NO_TEXT = 256
"""The outcome, after the 256 bytes, of a next token that stands for no text."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two distributions of a comparison, with the tokenizer of its ids."""

    distribution: NextDistribution
    tokenizer: Tokenizer
    sampler: Sampler = field(default_factory=Sampler)
    """Changes the chart only, not the divergence."""
    context: DrawContext = field(default_factory=DrawContext)
    """What the stages of the sampler may know."""


def next_distribution(model: Model, ids: Sequence[int]) -> NextDistribution:
    """The distribution of the token after `ids`, of which the model sees the last T."""
    sequence = model.sequences(whole=True)
    sequence.append([list(ids)])
    return sequence.distributions([len(ids) - 1])[0][0]


def compare(a: Side, b: Side, count: int = 50) -> Comparison:
    """Compare two next-token distributions, with the `count` likeliest tokens of each."""
    best_a, best_b = a.distribution.argmax, b.distribution.argmax
    return Comparison(
        divergence=diverge(a, b),
        agree=a.tokenizer.piece(best_a) == b.tokenizer.piece(best_b),
        rank_in_a=_rank_in(a, best_b, b.tokenizer),
        rank_in_b=_rank_in(b, best_a, a.tokenizer),
        chart_a=chart(a.distribution, a.sampler, count, a.tokenizer.piece, context=a.context),
        chart_b=chart(b.distribution, b.sampler, count, b.tokenizer.piece, context=b.context),
    )


def _rank_in(side: Side, id: int, tokenizer: Tokenizer) -> Bounded | None:
    """The rank in `side` of the token that is `id` in another tokenizer; None where `side` has no such token."""
    if not same_tokens(side.tokenizer, tokenizer):
        own_id = _ids_by_piece(side.tokenizer).get(tokenizer.spelled(id))
        if own_id is None:
            return None
        id = own_id
    return side.distribution.score(id).rank


# Divergence ----------------------------------------------------------------------------------------------------------


def diverge(a: Side, b: Side) -> Divergence:
    """KL both ways and Jensen–Shannon, in bits: over ids where both have the same tokens, else over the next byte."""
    if same_tokens(a.tokenizer, b.tokenizer):
        return Divergence("token", *divergences(a.distribution, b.distribution))
    log_a, log_b = (next_byte_logprobs(side) for side in (a, b))
    log_mean = torch.logaddexp(log_a, log_b) - math.log(2)
    return Divergence(
        over="byte",
        kl_ab_bits=kl_bits_from_logprobs(log_a, log_b),
        kl_ba_bits=kl_bits_from_logprobs(log_b, log_a),
        js_bits=(kl_bits_from_logprobs(log_a, log_mean) + kl_bits_from_logprobs(log_b, log_mean)) / 2,
    )


def _logprobs(side: Side) -> Tensor:
    """ln p of each id, [V], float64. Raises `UserError` where not all are known."""
    distribution = side.distribution
    if not isinstance(distribution, Distribution):
        raise UserError(
            _(
                "models with different tokens are compared by the next byte, which needs all {vocab_size:,} "
                "probabilities, but the engine gives {known:,}; start the engine so that it gives all"
            ),
            vocab_size=distribution.vocab_size,
            known=distribution.known,
        )
    return torch.log_softmax(distribution.logits.double(), dim=-1)


def next_byte_logprobs(side: Side) -> Tensor:
    """ln p of the next byte of the text, [257], float64; the last outcome is `NO_TEXT`."""
    logprobs, outcomes = _logprobs(side), _first_bytes(side.tokenizer)
    highest = torch.full((NO_TEXT + 1,), -math.inf, dtype=torch.float64)
    highest = highest.scatter_reduce(0, outcomes, logprobs, "amax").clamp(min=torch.finfo(torch.float64).min)
    terms = (logprobs - highest[outcomes]).exp()  # the largest term of an outcome is 1, so none underflows to 0
    return highest + torch.zeros_like(highest).index_add(0, outcomes, terms).log()


@lru_cache(maxsize=8)
def _first_bytes(tokenizer: Tokenizer) -> Tensor:
    """The first byte of each id, [V], or `NO_TEXT`."""
    pieces = map(tokenizer.spelled, range(tokenizer.vocab_size))
    return torch.tensor([piece[0] if piece else NO_TEXT for piece in pieces])


@lru_cache(maxsize=8)
def _ids_by_piece(tokenizer: Tokenizer) -> dict[bytes, int]:
    """The lowest id of each piece of text."""
    ids = {tokenizer.spelled(id): id for id in reversed(range(tokenizer.vocab_size))}
    ids.pop(b"", None)
    return ids


# Two tokenizations of one text ---------------------------------------------------------------------------------------


def align(a: Sequence[bytes], b: Sequence[bytes]) -> tuple[Boundary, ...]:
    """The boundaries that two tokenizations of one text have in common, by byte offset, from 0 on.

    A piece without bytes (a special token) belongs to the text before it. After the first byte that differs there are
    no boundaries.
    """
    shared = _shared_bytes(b"".join(a), b"".join(b))
    ends_a, ends_b = ({end: n for n, end in enumerate(accumulate(map(len, side), initial=0))} for side in (a, b))
    return tuple(Boundary(end, ends_a[end], ends_b[end]) for end in ends_a if end in ends_b and end <= shared)


def _shared_bytes(a: bytes, b: bytes) -> int:
    """The length of the longest common prefix."""
    shorter = min(len(a), len(b))
    return shorter if a[:shorter] == b[:shorter] else next(at for at in range(shorter) if a[at] != b[at])


def counterpart(boundaries: Sequence[Boundary], cursor: int) -> Boundary:
    """The last common boundary at or before a cursor of A (a number of tokens); `tokens_b` is the cursor of B."""
    after = bisect_right(boundaries, cursor, key=lambda boundary: boundary.tokens_a)
    return boundaries[max(0, after - 1)]


def compare_text(a: Model, b: Model, text: str, *, special: bool = False) -> Iterator[Progress | ComparedText]:
    """Compare two models at each boundary that both tokenizations of a text have; progress first, the result last.

    A text longer than a context is read in overlapping windows, as `core.evaluation.score` describes. At most
    `LOGIT_ROWS` distributions of each model are in memory. Raises `UserError` where there is no common boundary.
    """
    ids_a, ids_b = a.tokenizer.encode(text, special=special), b.tokenizer.encode(text, special=special)
    pieces_a, pieces_b = a.tokenizer.spell(ids_a), b.tokenizer.spell(ids_b)
    boundaries = [each for each in align(pieces_a, pieces_b) if each.tokens_a and each.tokens_b]
    if not boundaries:
        raise UserError(
            _("in this text no token of one tokenizer ends where a token of the other ends; give a longer text")
        )
    shared = _shared_bytes(b"".join(pieces_a), b"".join(pieces_b))
    return _compare_text((a, ids_a), (b, ids_b), boundaries, sum(map(len, pieces_a)), shared)


def _compare_text(
    a: tuple[Model, list[int]], b: tuple[Model, list[int]], boundaries: list[Boundary], text_bytes: int, shared: int
) -> Iterator[Progress | ComparedText]:
    total, compared = len(boundaries), list[ComparedPosition]()
    after_a = distributions_after(*a, [boundary.tokens_a - 1 for boundary in boundaries])
    after_b = distributions_after(*b, [boundary.tokens_b - 1 for boundary in boundaries])
    yield Progress(0, total)
    for boundary in boundaries:
        sides = []
        for (model, _unused), rows in ((a, after_a), (b, after_b)):
            while (row := next(rows)) is None:
                yield Progress(len(compared), total)
            sides.append(Side(row.distribution, model.tokenizer))
        compared.append(_compare_position(boundary, *sides))
        if len(compared) % LOGIT_ROWS == 0:
            yield Progress(len(compared), total)
    yield Progress(total, total)
    yield ComparedText(
        over=compared[0].divergence.over,
        positions=tuple(compared),
        text_bytes=text_bytes,
        shared_bytes=shared,
        min_context_a=min_context(boundaries[-1].tokens_a, a[0].info.context),
        min_context_b=min_context(boundaries[-1].tokens_b, b[0].info.context),
    )


def _compare_position(boundary: Boundary, a: Side, b: Side) -> ComparedPosition:
    best_a, best_b = (side.tokenizer.piece(side.distribution.argmax) for side in (a, b))
    return ComparedPosition(boundary, diverge(a, b), best_a == best_b, best_a, best_b)
