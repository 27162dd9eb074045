"""Lines of styled text as an SVG picture."""

import io
from collections.abc import Sequence

from rich.color_triplet import ColorTriplet
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tui.drawing.spoken import restored

Rgb = tuple[int, int, int]
FRAME = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: {char_height}px;
  line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ display: none; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
<rect fill="GROUND" width="{width}" height="{height}" rx="8"/>
<g transform="translate({terminal_x}, 20)" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""A page without the buttons of a window and without fonts from the network."""


def svg(lines: Sequence[Text], width: int, ink: Rgb, ground: Rgb) -> str:
    """Lines of up to `width` cells as a picture, in the colors `ink` on `ground` where a line has none."""
    console = Console(
        width=width, record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor", no_color=False
    )
    for line in lines:
        console.print(line, overflow="ignore", no_wrap=True, crop=True, highlight=False)
    theme = TerminalTheme(ground, ink, [ColorTriplet(0, 0, 0)] * 8)
    page = FRAME.replace("GROUND", "#{:02x}{:02x}{:02x}".format(*ground))
    return restored(console.export_svg(title="", theme=theme, code_format=page, unique_id="t"))
