"""The themes. Borders are muted, the accent marks what is active, a warm color marks surprisal.

A heat map is orange above zero and blue below it, which people with any kind of color vision tell apart. Faint text is
of a gray that 256 colors have too, and 16 colors nearly: there it has a contrast of 4:1 (light, in 16 colors: 3:1).

The theme for a projector is black on white with two dark colors. Text on every ground has a contrast of at least 7:1
(WCAG 2.2, level AAA); there are no faint letters, and the bars of the chart are two lines high.
"""

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
    channels = (each / 255 for each in color.rgb)
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def clearer(one: Color, other: Color, *, on: Color) -> Color:
    """The color that has the higher contrast on a ground."""
    return max(one, other, key=lambda color: contrast(color, on))


def strongest_tint(ground: Color, hue: Color, ink: Color) -> float:
    """How far `ground` can be blended with `hue` so that text in `ink` still has `READABLE` contrast, in hundredths."""
    return max((n / 100 for n in range(101) if contrast(ground.blend(hue, n / 100), ink) >= READABLE), default=0.0)


class Undimmed(LineFilter):
    """Shows in italics what is dim elsewhere: on a projector faint letters cannot be read."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments of a line, none of them dim."""
        return [
            Segment(text, style + UNDIMMED if style and style.dim else style, control)
            for text, style, control in segments
        ]
