"""Perplexity, bits per token and bits per byte, from a summed surprisal."""

import math
from typing import Protocol


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
