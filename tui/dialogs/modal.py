"""The screen of a dialog, which dims the screen below it."""

from functools import lru_cache
from typing import Any, TypeVar

from rich.console import RenderableType
from rich.segment import Segment
from rich.style import Style as RichStyle
from textual.color import Color
from textual.css.styles import RulesMap
from textual.renderables.background_screen import BackgroundScreen
from textual.screen import ModalScreen, Screen
from textual.strip import Strip
from textual.style import Style
from textual.visual import RenderOptions, Visual

Answer = TypeVar("Answer")


class Modal(ModalScreen[Answer]):
    """A `ModalScreen` that opens in half of the time: it blends each style once, and paints when it has its size."""

    HORIZONTAL_BREAKPOINTS = VERTICAL_BREAKPOINTS = []  # no rule of a dialog asks for their classes
    _sized = False

    def render(self) -> RenderableType:
        below: Any = super().render()
        if isinstance(below, BackgroundScreen):
            below = Dimmed(below.screen, below.color)
        return below

    def on_resize(self) -> None:
        self._sized = True

    def _compositor_refresh(self) -> None:
        if self._sized:
            super()._compositor_refresh()


class Dimmed(Visual):
    """A screen, blended with a color."""

    def __init__(self, screen: Screen[object], color: Color) -> None:
        self._screen, self._color = screen, color

    def render_strips(self, width: int, height: int | None, style: Style, options: RenderOptions) -> list[Strip]:
        return [
            Strip([Segment(text, dimmed(style or RichStyle(), self._color)) for text, style, _ in strip])
            for strip in self._screen._compositor.render_strips()[:height]
        ]

    def get_optimal_width(self, rules: RulesMap, container_width: int) -> int:
        return container_width

    def get_height(self, rules: RulesMap, width: int) -> int:
        return self._screen.size.height


@lru_cache(maxsize=4096)
def dimmed(style: RichStyle, color: Color) -> RichStyle:
    """A style without links, whose colors are blended with another."""
    (segment,) = BackgroundScreen.process_segments([Segment("", style)], color)
    return segment.style or style
