"""The themes. Borders are muted, the accent marks what is active, a warm color marks surprisal.

A heat map is orange above zero and blue below it, which people with any kind of color vision tell apart. Faint text is
of a gray that 256 colors have too, and 16 colors nearly: there it has a contrast of 4:1 (light, in 16 colors: 3:1).

The theme for a projector is black on white with two dark colors. Text on every ground has a contrast of at least 7:1
(WCAG 2.2, level AAA); there are no faint letters, and the bars of the chart are two lines high.
"""

import math
from functools import cache

from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter
from textual.theme import Theme

READABLE = 7.0
"""The contrast of text in the theme for a projector (WCAG 2.2, 1.4.6)."""
UNDIMMED = Style(dim=False, italic=True)

DARK = Theme(
    name="tokenwalk-dark",
    primary="#4a5a6c",
    secondary="#8aa0b6",
    accent="#7cc4b8",
    warning="#e8a15c",
    error="#e2777a",
    success="#9ccf8a",
    foreground="#d6dce2",
    background="#11151a",
    surface="#161b21",
    panel="#1d242c",
    dark=True,
    variables={
        "text-muted": "#9ba5af",
        "text-disabled": "#808080",
        "footer-background": "#11151a",
        "footer-key-foreground": "#7cc4b8",
        "footer-description-foreground": "#8b98a5",
        "block-cursor-background": "#7cc4b8",
        "block-cursor-foreground": "#11151a",
        "input-selection-background": "#7cc4b8 30%",
        "scrollbar": "#2a343e",
        "scrollbar-background": "#11151a",
        "border-blurred": "#33404d",
        "heat-above": "#e8a15c",
        "heat-below": "#5aa2e6",
    },
)

LIGHT = Theme(
    name="tokenwalk-light",
    primary="#9aa7b4",
    secondary="#556475",
    accent="#157065",
    warning="#a14f0e",
    error="#b3343c",
    success="#377127",
    foreground="#22292f",
    background="#fbfaf7",
    surface="#f3f1ec",
    panel="#e9e6df",
    dark=False,
    variables={
        "text-muted": "#4e5358",
        "text-disabled": "#6f6f6f",
        "footer-background": "#fbfaf7",
        "footer-key-foreground": "#157065",
        "footer-description-foreground": "#576470",
        "block-cursor-background": "#157065",
        "block-cursor-foreground": "#fbfaf7",
        "input-selection-background": "#157065 25%",
        "scrollbar": "#d6d1c6",
        "scrollbar-background": "#fbfaf7",
        "border-blurred": "#c4c8cc",
        "heat-above": "#c2601a",
        "heat-below": "#1f6fb8",
    },
)

PROJECTOR = Theme(
    name="tokenwalk-projector",
    primary="#8099b5",
    secondary="#000000",
    accent="#003c82",
    warning="#7a2c00",
    error="#8a0000",
    success="#004d1a",
    foreground="#000000",
    background="#ffffff",
    surface="#ffffff",
    panel="#e2edfa",
    dark=False,
    variables={
        "text": "#000000",
        "text-muted": "#1f1f1f",
        "text-disabled": "#3d3d3d",
        "footer-background": "#ffffff",
        "footer-key-foreground": "#003c82",
        "footer-description-foreground": "#000000",
        "block-cursor-background": "#003c82",
        "block-cursor-foreground": "#ffffff",
        "input-selection-background": "#003c82 20%",
        "scrollbar": "#4a4a4a",
        "scrollbar-background": "#ffffff",
        "border-blurred": "#4a4a4a",
        "heat-above": "#7a2c00",
        "heat-below": "#003c82",
    },
)

HEAT = {name: color for name, color in DARK.variables.items() if name.startswith("heat-")}
"""The colors of a heat map in a theme that has none."""


def projected(theme: str) -> bool:
    """Whether a theme is for a projector."""
    return theme == PROJECTOR.name


def contrast(one: Color, other: Color) -> float:
    """The ratio of two colors' luminance, from 1 to 21 (WCAG 2.2, contrast ratio)."""
    dark, light = sorted(_luminance(color) for color in (one, other))
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: Color) -> float:
    red, green, blue = _linear(color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(color: Color) -> list[float]:
    """Red, green and blue from 0 to 1, proportional to light."""
    channels = (each / 255 for each in color.rgb)
    return [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]


def clearer(one: Color, other: Color, *, on: Color) -> Color:
    """The color that has the higher contrast on a ground."""
    return max(one, other, key=lambda color: contrast(color, on))


def strongest_tint(ground: Color, hue: Color, ink: Color) -> float:
    """How far `ground` can be blended with `hue` so that text in `ink` still has `READABLE` contrast, in hundredths."""
    return max((n / 100 for n in range(101) if contrast(ground.blend(hue, n / 100), ink) >= READABLE), default=0.0)


# 256 colors ----------------------------------------------------------------------------------------------------------

PALETTE = tuple(Color(*RichColor.from_ansi(number).get_truecolor()) for number in range(16, 232))
"""The colors of a terminal of 256 that are no grays of its ramp, nor the 16 that a person can change."""
ALIKE = 40.0
"""Degrees by which the hue of a tint may differ from that of its theme."""


@cache
def tints_of_256(ground: Color, hue: Color) -> tuple[Color, ...]:
    """The ground blended with `hue` by 0 to 100 hundredths, each as the palette color that comes nearest.

    Colors of one hue, and none nearer to the ground in luminance than the one before: a nearest color that is looked
    for alone is now a gray, now of another hue, and sometimes out of order.
    """
    middle, places = _oklab(hue), [(color, _oklab(color)) for color in PALETTE]
    own = [(color, place) for color, place in places if _turn(place, middle) <= ALIKE]
    found, way = [(ground, _oklab(ground))], 1 if _luminance(hue) > _luminance(ground) else -1
    for hundredths in range(1, 101):
        blend, last = _oklab(ground.blend(hue, hundredths / 100)), found[-1]
        beyond = [each for each in own if (_luminance(each[0]) - _luminance(last[0])) * way > 0]
        found.append(min((last, *beyond), key=lambda each: math.dist(each[1], blend)))
    return tuple(color for color, _place in found)


def _turn(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """The angle in degrees between two hues; a gray has none that is alike."""
    if math.hypot(*one[1:]) < 0.012:
        return 180.0
    angle = math.degrees(math.atan2(one[2], one[1]) - math.atan2(other[2], other[1]))
    return abs((angle + 180) % 360 - 180)


def _oklab(color: Color) -> tuple[float, float, float]:
    """Lightness and two axes of hue, in which distances are as they are seen (Ottosson 2020, OKLab)."""
    red, green, blue = _linear(color)
    long, medium, short = (
        (a * red + b * green + c * blue) ** (1 / 3)
        for a, b, c in (
            (0.4122214708, 0.5363325363, 0.0514459929),
            (0.2119034982, 0.6806995451, 0.1073969566),
            (0.0883024619, 0.2817188376, 0.6299787005),
        )
    )
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


class Undimmed(LineFilter):
    """Shows in italics what is dim elsewhere: on a projector faint letters cannot be read."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments of a line, none of them dim."""
        return [
            Segment(text, style + UNDIMMED if style and style.dim else style, control)
            for text, style, control in segments
        ]
