"""Owns how far two models are apart: at one place, along a text, and which places of two tokenized texts are the same.

Models with the same tokens are compared over ids. Others are compared over the next byte: a byte has the probability
of all tokens that begin with it, which is how likely the text that a model goes on with begins with it. Tokens that
stand for no text (special or without meaning) go to one outcome more. All logarithms are taken in float64.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor

from core.engine.prefix import Prefix
from core.errors import UserError
from core.evaluation.score import AT_ONCE, context_at_least, rows
from core.evaluation.values import Boundary, ComparedPosition, ComparedText, Comparison, Divergence
from core.loading.models import Model
from core.progress import Progress
from core.sampling.chart import chart
from core.sampling.distribution import Distribution
from core.sampling.divergence import kl_bits_from_logprobs
from core.sampling.sampler import Sampler
from core.tokenizers.tokenizer import Tokenizer

NO_TEXT = 256
"""The outcome, beside the 256 bytes, that the next token stands for no text."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of two distributions to be compared."""

    distribution: Distribution
    tokenizer: Tokenizer
    sampler: Sampler = field(default_factory=Sampler)
    """Shapes the chart and nothing else."""

    def best(self) -> int:
        """The id of the likeliest token."""
        return self.distribution.argmax


def after(model: Model, ids: Sequence[int]) -> Distribution:
    """What `model` says comes after `ids`, of which it sees the last T."""
    prefix = Prefix(model.transformer)
    prefix.append([list(ids)])
    return Distribution(prefix.logits([len(ids) - 1])[0, 0])


def compare(a: Side, b: Side, count: int = 50) -> Comparison:
    """Two next-token distributions, with the `count` likeliest tokens of each."""
    best_a, best_b = a.best(), b.best()
    return Comparison(
        divergence=diverge(a, b),
        agree=a.tokenizer.piece(best_a) == b.tokenizer.piece(best_b),
        rank_in_a=_rank(a, b, best_b),
        rank_in_b=_rank(b, a, best_a),
        chart_a=chart(a.distribution, a.sampler, count, a.tokenizer.piece),
        chart_b=chart(b.distribution, b.sampler, count, b.tokenizer.piece),
    )


def _rank(here: Side, there: Side, id: int) -> int | None:
    """The rank `here` of a token from `there`."""
    if not same_tokens(here.tokenizer, there.tokenizer):
        known = _ids(here.tokenizer).get(there.tokenizer.spelled(id))
        if known is None:
            return None
        id = known
    return here.distribution.score(id).rank


# Divergence ----------------------------------------------------------------------------------------------------------


def diverge(a: Side, b: Side) -> Divergence:
    """KL both ways and Jensen–Shannon, in bits: over ids where both have the same tokens, else over the next byte."""
    log_a, log_b = _log_shares(a.distribution), _log_shares(b.distribution)
    by_token = same_tokens(a.tokenizer, b.tokenizer)
    if not by_token:
        log_a, log_b = _by_byte(log_a, a.tokenizer), _by_byte(log_b, b.tokenizer)
    mixed = torch.logaddexp(log_a, log_b) - math.log(2)
    return Divergence(
        by="token" if by_token else "byte",
        kl_ab=kl_bits_from_logprobs(log_a, log_b),
        kl_ba=kl_bits_from_logprobs(log_b, log_a),
        js=(kl_bits_from_logprobs(log_a, mixed) + kl_bits_from_logprobs(log_b, mixed)) / 2,
    )


def next_byte(side: Side) -> tuple[float, ...]:
    """How likely the text goes on with each of the 256 bytes, and, last, with a token that stands for no text."""
    return tuple(_by_byte(_log_shares(side.distribution), side.tokenizer).exp().tolist())


def _log_shares(distribution: Distribution) -> Tensor:
    """ln p, [V], float64."""
    return torch.log_softmax(distribution.logits.double(), dim=-1)


def _by_byte(log_shares: Tensor, words: Tokenizer) -> Tensor:
    """ln of the summed probability of each outcome, [257], from ln p of the ids, [V]."""
    outcomes = _outcomes(words)
    highest = torch.full((NO_TEXT + 1,), -math.inf, dtype=torch.float64)
    highest = highest.scatter_reduce(0, outcomes, log_shares, "amax").clamp(min=torch.finfo(torch.float64).min)
    powers = (log_shares - highest[outcomes]).exp()  # the largest of an outcome is 1: none vanishes
    return highest + torch.zeros_like(highest).index_add(0, outcomes, powers).log()


@lru_cache(maxsize=8)
def _outcomes(words: Tokenizer) -> Tensor:
    """The first byte of each id, [V], or `NO_TEXT`."""
    spelled = map(words.spelled, range(words.vocab_size))
    return torch.tensor([piece[0] if piece else NO_TEXT for piece in spelled])


@lru_cache(maxsize=8)
def _ids(words: Tokenizer) -> dict[bytes, int]:
    """The lowest id of each piece of text."""
    found = {words.spelled(id): id for id in reversed(range(words.vocab_size))}
    found.pop(b"", None)
    return found


@lru_cache(maxsize=8)
def same_tokens(a: Tokenizer, b: Tokenizer) -> bool:
    """Whether each id is the same token for both."""
    return a is b or (a.vocab_size == b.vocab_size and all(a.piece(id) == b.piece(id) for id in range(a.vocab_size)))


# Two tokenizations of one text ---------------------------------------------------------------------------------------


def align(a: Sequence[bytes], b: Sequence[bytes]) -> tuple[Boundary, ...]:
    """The places between tokens that two sequences of pieces of one text share, by their bytes, from 0 on.

    A piece without bytes (a special token) belongs to what is before it. Where the bytes are not the same any more,
    nothing is shared.
    """
    shared = _shared_bytes(b"".join(a), b"".join(b))
    ends_a, ends_b = ({end: n for n, end in enumerate(accumulate(map(len, side), initial=0))} for side in (a, b))
    return tuple(Boundary(end, ends_a[end], ends_b[end]) for end in ends_a if end in ends_b and end <= shared)


def _shared_bytes(a: bytes, b: bytes) -> int:
    shorter = min(len(a), len(b))
    return shorter if a[:shorter] == b[:shorter] else next(at for at in range(shorter) if a[at] != b[at])


def counterpart(boundaries: Sequence[Boundary], cursor: int) -> Boundary:
    """The last shared place at or before a cursor of A: where B stands when A stands there."""
    at = bisect_right(boundaries, cursor, key=lambda boundary: boundary.a)
    return boundaries[max(0, at - 1)]


def compare_text(a: Model, b: Model, text: str, *, special: bool = False) -> Iterator[Progress | ComparedText]:
    """Two models along one text, at each place between tokens that both tokenizers share; the answer comes last.

    A text longer than a context is read in overlapping windows, as `core.evaluation.score` describes. `AT_ONCE` logits of each
    model are held at most. Raises `UserError` where there is no such place.
    """
    ids_a, ids_b = a.tokenizer.encode(text, special=special), b.tokenizer.encode(text, special=special)
    spelled_a, spelled_b = list(map(a.tokenizer.spelled, ids_a)), list(map(b.tokenizer.spelled, ids_b))
    places = [place for place in align(spelled_a, spelled_b) if place.a and place.b]
    if not places:
        raise UserError("the two tokenizers have no token's end in common in this text; give a longer one")
    shared = _shared_bytes(b"".join(spelled_a), b"".join(spelled_b))
    return _compare_text((a, ids_a), (b, ids_b), places, sum(map(len, spelled_a)), shared)


def _compare_text(
    a: tuple[Model, list[int]], b: tuple[Model, list[int]], places: list[Boundary], text_bytes: int, shared: int
) -> Iterator[Progress | ComparedText]:
    total, found = len(places), list[ComparedPosition]()
    each_a = rows(*a, [place.a - 1 for place in places])
    each_b = rows(*b, [place.b - 1 for place in places])
    yield Progress(0, total)
    for place in places:
        sides = []
        for (model, _), each in ((a, each_a), (b, each_b)):
            while (row := next(each)) is None:
                yield Progress(len(found), total)
            sides.append(Side(Distribution(row.logits), model.tokenizer))
        found.append(_place(place, *sides))
        if len(found) % AT_ONCE == 0:
            yield Progress(len(found), total)
    yield Progress(total, total)
    yield ComparedText(
        by=found[0].divergence.by,
        places=tuple(found),
        text_bytes=text_bytes,
        shared_bytes=shared,
        context_at_least_a=context_at_least(places[-1].a, a[0].info.context),
        context_at_least_b=context_at_least(places[-1].b, b[0].info.context),
    )


def _place(at: Boundary, a: Side, b: Side) -> ComparedPosition:
    best_a, best_b = a.tokenizer.piece(a.best()), b.tokenizer.piece(b.best())
    return ComparedPosition(at, diverge(a, b), best_a == best_b, best_a, best_b)
