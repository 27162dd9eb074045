"""Owns what the hand-painted panels share: styles looked up once a theme, and lines that scroll by page."""

from rich.style import Style
from textual import events
from textual.binding import Binding
from textual.scroll_view import ScrollView
from textual.widget import Widget


class Painted(Widget):
    """A widget that paints its own lines in component styles."""

    _found: dict[str, Style] | None = None

    def style_of(self, name: str = "") -> Style:
        """The style of a component of this widget, or its own."""
        if self._found is None:
            self._found = {}
        if name not in self._found:
            self._found[name] = self.get_component_rich_style(name) if name else self.rich_style
        return self._found[name]

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._found = None

    def on_hide(self, event: events.Hide) -> None:
        event.prevent_default()  # the screen moves the focus; Textual would move it once more, and late


class PaintedPage(ScrollView, Painted, can_focus=True, inherit_bindings=False):
    """Painted lines, of which those on the screen are drawn."""

    BINDINGS = [
        Binding("pageup", "page_up", "Scroll up", show=False),
        Binding("pagedown", "page_down", "Scroll down", show=False),
    ]

    @property
    def columns(self) -> int:
        """Cells in a line."""
        return self.scrollable_content_region.width

    @property
    def top(self) -> int:
        """The first line on the screen."""
        return int(self.scroll_offset.y)

    def on_show(self) -> None:
        """Come forth from behind a tab, perhaps at the size of before."""
        self.on_resize()

    def on_resize(self) -> None:
        """Lay the lines out anew."""

    def current_lines(self) -> tuple[int, int]:
        """The first and the last line of what must be seen."""
        return 0, 0

    def watch_show_vertical_scrollbar(self, shown: bool) -> None:
        """Follow once the layout knows that there are more lines than fit; before, nothing scrolls."""
        if shown:
            self.call_after_refresh(self.follow)

    def follow(self) -> None:
        """Scroll as little as shows the current lines."""
        (first, last), height = self.current_lines(), self.scrollable_content_region.height
        limit = max(0, self.virtual_size.height - height)
        if self.top > limit:  # the panel grew
            self.scroll_to(y=limit, animate=False, immediate=True)
        if first < self.top:
            self.scroll_to(y=first, animate=False, immediate=True)
        elif last >= self.top + height:
            self.scroll_to(y=last + 1 - height, animate=False, immediate=True)
