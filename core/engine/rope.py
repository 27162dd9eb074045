"""Rotary positions as data: base, rotated size, and how the frequencies change for long contexts. Imports no torch.

Pair i of a head rotates by base^(-2i/r) / divisor_i radians per position, where r is the number of rotated components.
All scalings but two are constant divisors. Dynamic NTK and LongRoPE have other frequencies for longer sequences.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import UserError
from core.language import _


@dataclass(frozen=True, kw_only=True, slots=True)
class Rope:
    """How queries and keys are rotated (Su et al. 2021, §3.2.2). Raises `UserError` for impossible numbers."""

    base: float = 10_000.0
    """θ: pair i of r/2 rotates by θ^(-2i/r) radians per position."""
    size: int | None = None
    """r, how many components of a head are rotated, the first ones; None is all of them."""
    divisors: tuple[float, ...] = ()
    """One divisor of the frequency per pair; infinity rotates a pair not at all. Empty divides nothing."""
    scale: float = 1.0
    """Factor of the rotated queries and keys (YaRN and LongRoPE: the attention factor)."""
    trained: int = 0
    """Tokens of the longest sequence that has the frequencies above; 0 where they are the same for all lengths."""
    long_divisors: tuple[float, ...] = ()
    """LongRoPE: the divisors in a sequence of more than `trained` tokens."""
    growth: float = 0.0
    """Dynamic NTK: the factor s by which the base grows beyond `trained` tokens; 0 is no growth."""

    def __post_init__(self) -> None:
        numbers = (self.base, self.scale, *self.divisors, *self.long_divisors)
        if not all(number > 0 for number in numbers) or not math.isfinite(self.base * self.scale):
            raise UserError(_("the base, the factors and the attention factor of rotary positions must be positive"))
        if self.size is not None and (self.size < 2 or self.size % 2):
            raise UserError(
                _("rotary positions rotate pairs of components, so the rotated size must be even, not {size}"),
                size=self.size,
            )

    def span(self, length: int) -> int:
        """A length whose frequencies a sequence of `length` tokens has; 0 where all lengths have the same."""
        if not self.trained:
            return 0
        if length <= self.trained:
            return 1
        return length if self.growth else self.trained + 1

    def at(self, span: int, size: int) -> tuple[float, Sequence[float]]:
        """Base and divisors in a sequence of `span` tokens, for r = `size` rotated components."""
        if span <= self.trained or not self.trained:
            return self.base, self.divisors
        if not self.growth:
            return self.base, self.long_divisors
        ratio = self.growth * span / self.trained - (self.growth - 1)
        return self.base * ratio ** (size / (size - 2)), self.divisors


def llama3(base: float, size: int, factor: float, low: float, high: float, trained: int) -> tuple[float, ...]:
    """The divisors of Llama 3.1: 1 for pairs that rotate fast, `factor` for slow ones, and between them a mixture.

    A pair is fast with more than `high` rotations over the `trained` tokens, slow with fewer than `low`.
    """
    divisors = []
    for pair in range(size // 2):
        rotations = trained * base ** (-2 * pair / size) / (2 * math.pi)
        unscaled = min(1.0, max(0.0, (rotations - low) / (high - low)))
        divisors.append(1 / (unscaled + (1 - unscaled) / factor))
    return tuple(divisors)


def yarn(
    base: float, size: int, factor: float, trained: int, *, fast: float = 32.0, slow: float = 1.0, whole: bool = True
) -> tuple[float, ...]:
    """The divisors of YaRN (Peng et al. 2023, §3.2): 1 up to the pair that rotates `fast` times over `trained` tokens,
    `factor` from the one that rotates `slow` times on, and a linear ramp of frequencies between them.

    `whole` rounds the two pairs outward to whole numbers.
    """

    def pair_with(rotations: float) -> float:
        return size * math.log(trained / (rotations * 2 * math.pi)) / (2 * math.log(base))

    first, last = pair_with(fast), pair_with(slow)
    if whole:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, size - 1)
    width = last - first or 0.001
    divisors = []
    for pair in range(size // 2):
        scaled = min(1.0, max(0.0, (pair - first) / width))
        divisors.append(1 / (1 - scaled + scaled / factor))
    return tuple(divisors)


def yarn_scale(factor: float, weight: float = 1.0) -> float:
    """YaRN's attention factor, 0.1 · weight · ln s + 1 (Peng et al. 2023, eq. 22)."""
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


def longrope_scale(factor: float, trained: int) -> float:
    """LongRoPE's attention factor, √(1 + ln s / ln T) (Ding et al. 2024)."""
    return 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(trained))


def proportional(size: int, share: float, factor: float) -> tuple[float, ...]:
    """The divisors that rotate the first `share` of the pairs, `factor` times slower, and the others not at all."""
    rotated = int(share * size // 2)
    return (factor,) * rotated + (math.inf,) * (size // 2 - rotated)
