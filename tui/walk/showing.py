"""Offers what the screen shows to those who follow: the frame as the panels have it, and the lines of the lens."""

from dataclasses import replace

from textual.content import Content
from textual.scroll_view import ScrollView

from tui.lenses.base import Lens
from tui.lenses.chart import ChartLens
from tui.runner import Frame
from tui.sharing.server import Server
from tui.sharing.view import LINES, View, lines_of
from tui.walk.panels import PanelsScreen

INTERVAL = 0.1
"""Seconds between two looks at what the screen shows."""
ABOVE = 50
"""Lines of a long lens that are sent above the first one that is seen."""


class Showing:
    """Looks at the screen now and then; offers it where it has changed and somebody follows."""

    def __init__(self, server: Server, screen: PanelsScreen) -> None:
        self._server, self._screen = server, screen
        self._offered: tuple[object, ...] = ()

    def look(self) -> None:
        """Offer what is new. For the screen's thread."""
        screen, followers = self._screen, self._server.followers
        if followers != screen.state.followers:
            screen.state.followers = followers
            screen.show_status()
        if not followers:
            return
        frame, lens = screen.state.frame, screen.lens
        now = frame, lens, lens.drawing, _place(lens)
        same = len(self._offered) == len(now) and self._offered[3] == now[3]
        if not same or any(before is not after for before, after in zip(self._offered[:3], now, strict=False)):
            self._offered = now
            self._server.offer(visible(frame, lens), view_of(lens))


def visible(frame: Frame, lens: Lens) -> Frame:
    """The frame as far as the lens lets it be seen: where that is not the chart, it is not the question either."""
    shown = lens.frame_for_panels(frame)
    if lens.BESIDE or shown.snapshot is None:
        return shown
    return replace(shown, snapshot=replace(shown.snapshot, chart=None, measured=None))


def view_of(lens: Lens) -> View:
    """What a lens shows."""
    if isinstance(lens, ChartLens):
        return View(lens.NAME, cursor=lens.cursor)
    top = _place(lens)
    first = max(0, top - ABOVE)
    strips = lens.strips(first, LINES)
    styles, lines = lines_of(strips)
    width = max((strip.cell_length for strip in strips), default=0)
    return View(lens.NAME, _plain(lens.border_title), top - first, width, styles, lines)


def _place(lens: Lens) -> int:
    """The cursor of the chart, the first line that is seen of another lens."""
    if isinstance(lens, ChartLens):
        return lens.cursor
    return int(lens.scroll_offset.y) if isinstance(lens, ScrollView) else 0


def _plain(title: object) -> str:
    return title.plain[:1000] if isinstance(title, Content) else str(title or "")[:1000]
