"""The values of a shared walk as they are sent, and the way there and back.

Whoever listens at an address may send anything, so every value has a type and limits here.
"""

import math
from typing import Annotated, Any

from msgspec import Meta, Struct

from core.generation.token import Origin, Token
from core.sampling.bounds import Bounded, Bounds, between, high, low
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate, Chart, Score, StageEffect

LARGEST = 64_000_000
"""Bytes of a message at most."""

Count = Annotated[int, Meta(ge=0, lt=2**53)]
Share = Annotated[float, Meta(ge=0, le=1.001)]
Finite = Annotated[float, Meta(ge=-1e38, le=1e38)]
Number = float
"""May be infinite; NaN is refused later."""
Ends = tuple[int | Number, int | Number]
"""Of bounds. A union of a tuple and a number with a limit crashes msgspec 0.22, so limits are checked later."""
Word = Annotated[str, Meta(max_length=4_000)]
Text = Annotated[str, Meta(max_length=4_000_000)]
Values = Annotated[bytes, Meta(max_length=LARGEST)]
"""Encoded on their own."""
Piece = Annotated[bytes, Meta(max_length=100_000)]


class WireScore(Struct, array_like=True, frozen=True):
    """A `Score`."""

    logit: Number | Ends
    logprob: Number | Ends
    entropy_bits: Number | Ends
    rank: int | Number | Ends
    known: Count | None


class WireSpan(Struct, array_like=True, frozen=True):
    """A `Span`."""

    start: Count
    end: Count
    role: Word
    thinking: bool


class WireToken(Struct, array_like=True, frozen=True):
    """A `Token`, without the sampler and the model that drew it."""

    id: Count
    piece: Piece
    origin: Origin
    role: Word
    score: WireScore | None
    u: Share | None
    sampled_probability: Number | Ends | None
    redraw: Count


class WireCandidate(Struct, array_like=True, frozen=True):
    """A `Candidate`."""

    id: Count
    piece: Piece
    rank: Count
    logit: Number
    probability: Share
    sampled_probability: Number | Ends
    unpatched: Share | None
    true: Share | None
    known: bool


class WireEffect(Struct, array_like=True, frozen=True):
    """A `StageEffect`, with its stage in the written form."""

    stage: Text
    kept: int | Number | Ends
    removed: int | Number | Ends
    removed_mass: Number | Ends
    moved: Number | Ends


class WireChart(Struct, array_like=True, frozen=True):
    """A `Chart`."""

    candidates: Annotated[tuple[WireCandidate, ...], Meta(min_length=1, max_length=1000)]
    others_count: Count
    others_probability: Share
    others_sampled: Number | Ends
    entropy_bits: Number | Ends
    stages: Annotated[tuple[WireEffect, ...], Meta(max_length=100)]
    kept: int | Number | Ends
    problem: Word
    taken: WireCandidate | None
    divergence_bits: Number | None
    known: Count | None
    unknown_probability: Share
    from_logprobs: bool
    sampled_entropy_bits: Number | Ends | None


# To the wire ---------------------------------------------------------------------------------------------------------


def wire_token(token: Token) -> WireToken:
    """A token as it is sent."""
    probability = token.sampled_probability
    return WireToken(
        token.id,
        token.piece,
        token.origin,
        token.role,
        _wire_score(token.score) if token.score else None,
        token.u,
        None if probability is None else _sent(probability),
        token.redraw,
    )


def _wire_score(score: Score) -> WireScore:
    logit, logprob, entropy, rank = map(_sent, (score.logit, score.logprob, score.entropy_bits, score.rank))
    return WireScore(logit, logprob, entropy, rank, score.known)


def wire_chart(chart: Chart) -> WireChart:
    """A chart as it is sent."""
    effects = (
        WireEffect(str(e.stage), _sent(e.kept), _sent(e.removed), _sent(e.removed_mass), _sent(e.moved))
        for e in chart.stages
    )
    return WireChart(
        tuple(map(_wire_candidate, chart.candidates)),
        chart.others_count,
        chart.others_probability,
        _sent(chart.others_sampled),
        _sent(chart.entropy_bits),
        tuple(effects),
        _sent(chart.kept),
        chart.problem,
        _wire_candidate(chart.taken) if chart.taken else None,
        chart.divergence_bits,
        chart.known,
        chart.unknown_probability,
        chart.from_logprobs,
        None if chart.sampled_entropy_bits is None else _sent(chart.sampled_entropy_bits),
    )


def _wire_candidate(each: Candidate) -> WireCandidate:
    return WireCandidate(
        each.id,
        each.piece,
        each.rank,
        each.logit,
        each.probability,
        _sent(each.sampled_probability),
        each.unpatched,
        each.true,
        each.known,
    )


def _sent(value: Bounded) -> Any:
    return (value.low, value.high) if isinstance(value, Bounds) else value


# From the wire -------------------------------------------------------------------------------------------------------


def read_token(found: WireToken) -> Token:
    """The token that was sent. Raises `ValueError` where a number of it cannot be one."""
    score, probability = found.score, found.sampled_probability
    return Token(
        found.id,
        found.piece,
        found.origin,
        _score(score) if score else None,
        found.u,
        None if probability is None else _share(probability),
        found.redraw,
        role=found.role,
    )


def _score(found: WireScore) -> Score:
    logit, logprob, entropy, rank = map(_bounded, (found.logit, found.logprob, found.entropy_bits, found.rank))
    return Score(logit, logprob, entropy, rank, found.known)


def read_chart(found: WireChart) -> Chart:
    """The chart that was sent. Raises `ValueError` where a number or a stage of it cannot be one."""
    return Chart(
        tuple(map(_candidate, found.candidates)),
        found.others_count,
        found.others_probability,
        _share(found.others_sampled),
        _bounded(found.entropy_bits),
        tuple(map(_effect, found.stages)),
        _bounded(found.kept),
        found.problem,
        _candidate(found.taken) if found.taken else None,
        None if found.divergence_bits is None else _real(found.divergence_bits),
        found.known,
        found.unknown_probability,
        found.from_logprobs,
        None if found.sampled_entropy_bits is None else _bounded(found.sampled_entropy_bits),
    )


def _candidate(found: WireCandidate) -> Candidate:
    return Candidate(
        found.id,
        found.piece,
        found.rank,
        _real(found.logit),
        found.probability,
        _share(found.sampled_probability),
        found.unpatched,
        found.true,
        found.known,
    )


def _effect(found: WireEffect) -> StageEffect:
    (stage,) = Sampler.read(found.stage).stages
    return StageEffect(
        stage, _bounded(found.kept), _bounded(found.removed), _bounded(found.removed_mass), _bounded(found.moved)
    )


def _bounded(value: Any) -> Bounded:
    return between(*map(_real, value)) if isinstance(value, tuple) else _real(value)


def _share(value: Any) -> Bounded:
    """A probability."""
    found = _bounded(value)
    if not 0 <= low(found) <= high(found) <= 1.001:
        raise ValueError("a probability is not between 0 and 1")
    return found


def _real(value: float) -> float:
    if math.isnan(value):
        raise ValueError("a number is NaN")
    return value
