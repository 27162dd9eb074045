"""The results of scoring a text and of comparing two models, A and B: frozen values without tensors."""

import heapq
from dataclasses import dataclass
from typing import Literal

from core.evaluation.perplexity import SurprisalRates
from core.sampling.bounds import Bounded, low, through, total
from core.sampling.values import Chart, Score

Over = Literal["token", "byte"]
"""The outcomes of two compared distributions: token ids, or the next byte of the text."""


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """One token of a text, and its score in the distribution after the tokens before it."""

    position: int
    """The number of tokens before it."""
    id: int
    piece: bytes
    score: Score
    context: int
    """The number of tokens it was predicted from, the ones directly before it."""


@dataclass(frozen=True, slots=True)
class ScoredText(SurprisalRates):
    """The scores of a text, token by token. No distribution predicts the first token, so no sum includes it."""

    first_id: int
    first_piece: bytes
    tokens: tuple[ScoredToken, ...]
    """All but the first, in order."""
    min_context: int
    """Each token was predicted from at least this number of tokens, or from all before it where those are fewer."""
    byte_count: int
    """Bytes of the text that the tokens stand for, as it was given."""
    rewritten: bool = False
    """Whether the tokens spell another text than was given, since the tokenizer normalizes it."""

    @property
    def bits(self) -> Bounded:
        """The sum of the surprisals, -log2 p."""
        return total(token.score.surprisal_bits for token in self.tokens)

    @property
    def token_count(self) -> int:
        """The number of tokens that have a score."""
        return len(self.tokens)

    def worst(self, count: int) -> tuple[ScoredToken, ...]:
        """The tokens with the largest surprisals, largest first; equal ones in the order of the text."""
        return tuple(heapq.nlargest(count, self.tokens, key=lambda token: low(token.score.surprisal_bits)))


@dataclass(frozen=True, slots=True)
class Divergence:
    """The divergence of two next-token distributions, A and B, in bits; without temperature, top-k and the like."""

    over: Over
    """`token` where both models have the same tokens, otherwise `byte`."""
    kl_ab_bits: Bounded
    """KL(A ‖ B) = Σ a log2(a / b); ∞ where B has probability 0 for an outcome that A allows."""
    kl_ba_bits: Bounded
    """KL(B ‖ A)."""
    js_bits: Bounded
    """Jensen–Shannon divergence, (KL(A ‖ M) + KL(B ‖ M)) / 2 with M = (A + B) / 2, from 0 to 1 bit (Lin 1991)."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models' next-token distributions side by side."""

    divergence: Divergence
    agree: bool
    """Whether the likeliest token of both is the same bytes."""
    rank_in_a: Bounded | None
    """The rank in A of B's likeliest token, from 0; None where A has no such token."""
    rank_in_b: Bounded | None
    """The rank in B of A's likeliest token, from 0; None where B has no such token."""
    chart_a: Chart
    """A's likeliest tokens, under A's sampler."""
    chart_b: Chart
    """B's likeliest tokens, under B's sampler."""


@dataclass(frozen=True, slots=True)
class Boundary:
    """A position in a text where a token ends in both tokenizations."""

    byte_offset: int
    """Bytes of the text before it."""
    tokens_a: int
    """Tokens of A before it, special tokens included."""
    tokens_b: int
    """Tokens of B before it, special tokens included."""


@dataclass(frozen=True, slots=True)
class ComparedPosition:
    """The next-token distributions of two models after one boundary of a text, compared."""

    boundary: Boundary
    divergence: Divergence
    agree: bool
    """Whether `best_a` and `best_b` are equal."""
    best_a: bytes
    """A's likeliest next token."""
    best_b: bytes
    """B's likeliest next token."""


@dataclass(frozen=True, slots=True)
class ComparedText:
    """Two models compared at every boundary of a text."""

    over: Over
    positions: tuple[ComparedPosition, ...]
    """After every boundary with at least one token of each model before it, the end of the text included."""
    text_bytes: int
    """Bytes of the text, as A's tokens spell it."""
    shared_bytes: int
    """Bytes from the start that B's tokens spell equally; there are no boundaries after them."""
    min_context_a: int
    """As `ScoredText.min_context`, of A."""
    min_context_b: int
    """As `ScoredText.min_context`, of B."""

    @property
    def kl_ab_bits(self) -> Bounded:
        """The mean of KL(A ‖ B) over the positions."""
        return self._mean([position.divergence.kl_ab_bits for position in self.positions])

    @property
    def kl_ba_bits(self) -> Bounded:
        """The mean of KL(B ‖ A) over the positions."""
        return self._mean([position.divergence.kl_ba_bits for position in self.positions])

    @property
    def js_bits(self) -> Bounded:
        """The mean of the Jensen–Shannon divergence over the positions."""
        return self._mean([position.divergence.js_bits for position in self.positions])

    @property
    def agreement(self) -> float:
        """The share of positions where the likeliest tokens are equal."""
        return sum(position.agree for position in self.positions) / len(self.positions)

    def _mean(self, values: list[Bounded]) -> Bounded:
        return through(lambda each: each / len(values), total(values))
