"""Numbers that are known only to lie between two others. Needs no NumPy and no torch.

A value that is known exactly is a plain number; its type is `Bounded` where it may also be `Bounds`.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_FORM = re.compile(r"([<>^])?(\d+)?(.*)")
"""Alignment, width, and how each end is written."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """A number from `low` to `high`, both included; an end may be infinite."""

    low: float
    high: float

    def __add__(self, other: "Bounded") -> "Bounds":
        return Bounds(self.low + low(other), self.high + high(other))

    __radd__ = __add__

    def __format__(self, form: str) -> str:
        """Both ends, such as `2.31–2.48`; one if they read the same; `> 50`, `≥ 2.31`, `≤ 0.03` if one says nothing."""
        align, width, form = _FORM.fullmatch(form).groups()  # type: ignore[union-attr]  # it matches any text
        return format(self._words(form), f"{align or '>'}{width}" if width else "")

    def _words(self, form: str) -> str:
        least, most = format(self.low, form), format(self.high, form)
        if math.isinf(self.high):
            whole = isinstance(self.low, int)
            return f"> {format(self.low - 1, form)}" if whole else f"≥ {least}"
        if least == most:
            return least
        return f"≤ {most}" if math.isinf(self.low) or self.low == 0 else f"{least}–{most}"

    def __str__(self) -> str:
        return format(self, "")


Bounded = float | Bounds


def low(value: Bounded) -> float:
    """The least that a number can be."""
    return value.low if isinstance(value, Bounds) else value


def high(value: Bounded) -> float:
    """The most that a number can be."""
    return value.high if isinstance(value, Bounds) else value


def exact(value: Bounded) -> bool:
    """Whether a number is known."""
    return not isinstance(value, Bounds)


def between(least: float, most: float) -> Bounded:
    """The number between two; a plain number where they are equal."""
    return least if least == most else Bounds(min(least, most), max(least, most))


def through(function: Callable[[float], float], value: Bounded) -> Bounded:
    """A monotone function of a number."""
    if isinstance(value, Bounds):
        return between(function(value.low), function(value.high))
    return function(value)


def bits(nats: Bounded) -> Bounded:
    """The same amount of information in bits."""
    return through(lambda each: each / math.log(2), nats)


def total(values: Iterable[Bounded]) -> Bounded:
    """The sum of numbers."""
    listed = list(values)
    return between(math.fsum(map(low, listed)), math.fsum(map(high, listed)))
