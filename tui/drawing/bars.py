"""Draws bars, meters, shades and column charts as plain text. A share is a number from 0 to 1."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.style import Style

FLAT = 0.2
"""Largest share up to which a distribution is flat: bars on a scale that ends at 1 would all look alike."""
TICK = "│"
"""Marks where the true probability ends."""
SHADES = " ░▒▓█"
EIGHTHS = " ▁▂▃▄▅▆▇█"


def scale_for(largest: float) -> float:
    """The share at which bars end: 1, or for a flat distribution the round number (1, 2, 5) above its largest share."""
    if largest > FLAT:
        return 1.0
    decade = 10.0 ** math.floor(math.log10(max(largest, 1e-12)))
    return next(factor * decade for factor in (1, 2, 5, 10) if largest <= factor * decade)


@dataclass(frozen=True, slots=True)
class Axis:
    """Where a share lies along a bar: from 0 to `most`, or on a logarithmic axis from `least` to `most`."""

    most: float
    least: float = 0.0
    """0: linear."""

    @classmethod
    def of(cls, shares: Iterable[float], logarithmic: bool) -> "Axis":
        """The axis that shows each of the shares which are above 0."""
        positive = [share for share in shares if share > 0] or [1.0]
        most = scale_for(max(positive))
        return cls(most, 10.0 ** (math.ceil(math.log10(min(*positive, most))) - 1) if logarithmic else 0.0)

    def at(self, share: float) -> float:
        """The position: 0 at the start, 1 at `most`, larger beyond it."""
        if not self.least:
            return share / self.most
        return max(0.0, math.log(share / self.least) / math.log(self.most / self.least)) if share > 0 else 0.0

    def label(self, width: int) -> str:
        """Both ends in percent, in `width` cells; of a logarithmic axis at least the start."""
        start, end = (_end(share) for share in (self.least, self.most))
        for words in (start, start[:-1]):
            if len(words) + len(end) < width:
                between = width - len(words) - len(end)
                return words + ("log" if self.least and between > 8 else "").center(between) + end
        return f"{start if self.least else end.rjust(width):{width}.{width}}"


def _end(share: float) -> str:
    value = 100 * share
    if not value:
        return "0%"
    return f"{value:.4g}%" if value >= 0.0009 else f"{value:.0e}%".replace("e-0", "e-")


def bars(shares: list[float], ghosts: list[float], width: int, scale: float) -> list[str]:
    """One row of `width` cells for each share: `█▌` up to the share, then `░` up to its ghost (a second share).

    A share above `scale` fills the row.
    """
    halves = 2 * width / scale
    return [
        bar(round(min(share, scale) * halves), round(min(ghost, scale) * halves), width)
        for share, ghost in zip(shares, ghosts, strict=True)
    ]


def bar(share: int, ghost: int, width: int) -> str:
    """One row of `width` cells; `share` and `ghost` are lengths in half cells. plotext draws the same in 3 ms."""
    solid = "█" * (share // 2) + "▌" * (share % 2)
    return (solid + "░" * ((ghost + 1) // 2 - len(solid))).ljust(width)


def meter(share: float, width: int) -> str:
    """A bar in half cells, padded to `width` cells. A share above 0 shows at least a thin line."""
    halves = round(2 * width * max(0.0, min(share, 1.0)))
    if share > 0 and not halves:
        return "▏".ljust(width)
    return ("█" * (halves // 2) + "▌" * (halves % 2)).ljust(width)


def tick_at(true: float | None, width: int, scale: float) -> int | None:
    """The cell of a row in which the true probability ends; None where it is unknown, 0, or above `scale`."""
    if not true or true > scale:
        return None
    return min(width - 1, int(true * width / scale))


def ticked(parts: Iterable[tuple[str, Style]], tick: int, style: Style) -> Iterator[tuple[str, Style]]:
    """Styled pieces of a row, with cell `tick` replaced by `│`."""
    for text, own in parts:
        if 0 <= tick < len(text):
            yield text[:tick], own
            yield TICK, own + style
            yield text[tick + 1 :], own
        else:
            yield text, own
        tick -= len(text)


def shade(share: float) -> str:
    """One character, denser for a larger share: blank below 5 %, a full cell from 80 %."""
    return SHADES[sum(share >= bound for bound in (0.05, 0.25, 0.50, 0.80))]


def hundredths(share: float) -> str:
    """A share in three cells: `.42`, `1.0`."""
    return "1.0" if share >= 0.995 else f"{share:.2f}"[1:]


def columns(shares: Sequence[float], height: int) -> list[str]:
    """A column chart of `height` rows, from the top: one column for each share, in eighths of a cell."""
    lengths = [round(8 * height * max(0.0, min(share, 1.0))) or int(share > 0) for share in shares]
    return ["".join(EIGHTHS[max(0, min(8, n - 8 * level))] for n in lengths) for level in reversed(range(height))]


def signed_bar(share: float, width: int) -> tuple[str, str]:
    """Two halves of `width` cells each, on either side of an axis, in half cells: the bar of a share from -1 to 1.

    It goes to the right above zero and to the left below it. A share other than 0 shows at least a thin line; a larger
    one than 1 ends in an arrow.
    """
    halves = round(2 * width * min(1.0, abs(share)))
    blank = " " * width
    if not share:
        return blank, blank
    if abs(share) > 1:
        return (blank, "█" * (width - 1) + "▶") if share > 0 else ("◀" + "█" * (width - 1), blank)
    if share > 0:
        return blank, ("█" * (halves // 2) + "▌" * (halves % 2) or "▏").ljust(width)
    return ("▐" * (halves % 2) + "█" * (halves // 2) or "▕").rjust(width), blank
