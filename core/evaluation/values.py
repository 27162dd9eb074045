"""Values that describe a scored text and a comparison of two models; no tensors."""

import heapq
import math
from dataclasses import dataclass
from typing import Literal, Protocol

from core.sampling.values import Chart, Score

By = Literal["token", "byte"]


class _Surprisal(Protocol):
    """A sum of surprisal and what it is a sum over."""

    @property
    def bits(self) -> float: ...
    @property
    def token_count(self) -> int: ...
    @property
    def byte_count(self) -> int: ...


class SurprisalRates:
    """Rates of a summed surprisal, for a class with `bits`, `token_count` and `byte_count`."""

    __slots__ = ()

    @property
    def bits_per_token(self: _Surprisal) -> float:
        """The mean surprisal of a token, in bits."""
        return self.bits / self.token_count

    @property
    def bits_per_byte(self: _Surprisal) -> float:
        """The mean surprisal of a byte of text, in bits: the length of a code that the model gives (Shannon 1948)."""
        return self.bits / max(1, self.byte_count)

    @property
    def perplexity(self: _Surprisal) -> float:
        """2 to the bits per token: over how many equally likely tokens the mean surprisal would be the same."""
        rate = self.bits / self.token_count
        return math.exp2(rate) if rate < 1024 else math.inf


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """One token of a text and what a model thought of it before it came."""

    position: int
    """How many tokens stand before it."""
    id: int
    piece: bytes
    score: Score
    context: int
    """How many of the tokens before it the model saw."""


@dataclass(frozen=True, slots=True)
class Scored(SurprisalRates):
    """A text under a model, token by token. Nothing predicts the first one: it and its bytes count nowhere."""

    first_id: int
    first_piece: bytes
    tokens: tuple[ScoredToken, ...]
    """All but the first, in their order."""
    context_at_least: int
    """Each was predicted from so many tokens at least, or from all before it where those are fewer."""

    @property
    def bits(self) -> float:
        """Surprisal of all tokens together."""
        return math.fsum(token.score.surprisal_bits for token in self.tokens)

    @property
    def byte_count(self) -> int:
        """Bytes of all tokens together."""
        return sum(len(token.piece) for token in self.tokens)

    @property
    def token_count(self) -> int:
        """How many tokens have a score."""
        return len(self.tokens)

    def worst(self, count: int) -> tuple[ScoredToken, ...]:
        """The tokens that surprised most, first ones first among equals."""
        return tuple(heapq.nlargest(count, self.tokens, key=lambda token: token.score.surprisal_bits))


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far two next-token distributions, A and B, lie apart, in bits; before temperature and cuts."""

    by: By
    """`token`: over ids, where both have the same tokens; else `byte`: over what the next byte of text is."""
    kl_ab: float
    """KL(A‖B) = Σ a log2(a / b): what it costs to code what A says with B; ∞ where B forbids what A allows."""
    kl_ba: float
    """KL(B‖A)."""
    js: float
    """Jensen–Shannon: the mean of both against their mixture, from 0 to 1 (Lin 1991)."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models' next-token distributions side by side."""

    divergence: Divergence
    agree: bool
    """Whether the likeliest next token is the same piece of text."""
    rank_in_a: int | None
    """How many tokens A holds for likelier than B's favourite; None where A has no such token."""
    rank_in_b: int | None
    """The same of A's favourite in B."""
    chart_a: Chart
    """Each under its own sampler."""
    chart_b: Chart


@dataclass(frozen=True, slots=True)
class Boundary:
    """A place in a text that lies between two tokens for both tokenizers."""

    end: int
    """Bytes of the text before it."""
    a: int
    """Tokens of A before it, special ones included: a cursor."""
    b: int


@dataclass(frozen=True, slots=True)
class ComparedPosition:
    """What two models say comes after one boundary of a text."""

    at: Boundary
    divergence: Divergence
    agree: bool
    best_a: bytes
    """The likeliest next piece."""
    best_b: bytes


@dataclass(frozen=True, slots=True)
class ComparedText:
    """Two models along one text."""

    by: By
    places: tuple[ComparedPosition, ...]
    """At every boundary that both have a token before, the end of the text included."""
    text_bytes: int
    """Bytes of the text as A's tokens spell it."""
    shared_bytes: int
    """How many of them, from the start, B's tokens spell too; there is nothing to align after them."""
    context_at_least_a: int
    """As `Scored.context_at_least`, of each model."""
    context_at_least_b: int

    @property
    def kl_ab(self) -> float:
        """The mean over the places, bits; so are the next two."""
        return math.fsum(place.divergence.kl_ab for place in self.places) / len(self.places)

    @property
    def kl_ba(self) -> float:
        return math.fsum(place.divergence.kl_ba for place in self.places) / len(self.places)

    @property
    def js(self) -> float:
        return math.fsum(place.divergence.js for place in self.places) / len(self.places)

    @property
    def agreement(self) -> float:
        """The share of places at which both have the same favourite."""
        return sum(place.agree for place in self.places) / len(self.places)
