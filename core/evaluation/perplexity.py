"""Perplexity, bits per token and bits per byte, from a summed surprisal."""

import math
from typing import Protocol

from core.sampling.bounds import Bounded, through


class _Surprisal(Protocol):
    """A sum of surprisal and what it is a sum over."""

    @property
    def bits(self) -> Bounded: ...
    @property
    def token_count(self) -> int: ...
    @property
    def byte_count(self) -> int: ...


class SurprisalRates:
    """Rates of a summed surprisal, for a class with `bits`, `token_count` and `byte_count`."""

    __slots__ = ()

    @property
    def bits_per_token(self: _Surprisal) -> Bounded:
        """The mean surprisal of a token, in bits."""
        return through(lambda bits: bits / self.token_count, self.bits)

    @property
    def bits_per_byte(self: _Surprisal) -> Bounded:
        """The mean surprisal of a byte of text, in bits: the length of a code that the model gives (Shannon 1948)."""
        return through(lambda bits: bits / max(1, self.byte_count), self.bits)

    @property
    def perplexity(self: _Surprisal) -> Bounded:
        """2 to the bits per token: over how many equally likely tokens the mean surprisal would be the same."""
        return through(lambda bits: _exp2(bits / self.token_count), self.bits)


def _exp2(rate: float) -> float:
    return math.exp2(rate) if rate < 1024 else math.inf
