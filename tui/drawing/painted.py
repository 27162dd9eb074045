"""Base classes of widgets that paint their own lines: cached component styles, and scrolling pages."""

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding
from textual.color import Color
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from tui import themes


class Painted(Widget):
    """A widget that paints its own lines, in the styles that CSS gives to its component classes."""

    _styles_by_name: dict[str, Style] | None = None
    """Component styles by name; None after the theme has changed."""

    def style_of(self, name: str = "") -> Style:
        """The style of a component class, or of the widget itself."""
        if self._styles_by_name is None:
            self._styles_by_name = {}
        if name not in self._styles_by_name:
            self._styles_by_name[name] = self.get_component_rich_style(name) if name else self.rich_style
        return self._styles_by_name[name]

    def strip_of(self, line: Text, width: int) -> Strip:
        """A line of `width` cells. Every segment has a style, as Textual's filter for NO_COLOR needs it."""
        ground = self.style_of()
        line.no_wrap, line.end, line.style = True, "", ground
        segments = [Segment(text, style or ground) for text, style, _ in line.render(self.app.console)]
        return Strip(segments).adjust_cell_length(width, ground).simplify()

    @property
    def projected(self) -> bool:
        """Whether the theme is for a projector."""
        return themes.projected(self.app.theme)

    def tinted(self, hue: Color, share: float) -> Color:
        """The ground blended with `hue` by a share (0 to 1); for a projector by less, so that text is readable.

        The 16 colors of a terminal cannot be blended: there it is the ground itself.
        """
        ground = self.background_colors[1]
        if ground.ansi is not None or hue.ansi is not None:
            return ground
        ink = self.colors[3]
        if self.app.console.color_system == "256":
            tints = themes.tints_of_256(ground, hue)
            if self.projected:
                tints = tuple(each for each in tints if themes.contrast(each, ink) >= themes.READABLE)
            return tints[round(share * (len(tints) - 1))]
        if self.projected:
            share *= themes.strongest_tint(ground, hue, ink)
        return ground.blend(hue, share)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles_by_name = None

    def on_hide(self, event: events.Hide) -> None:
        event.prevent_default()  # the screen moves the focus; Textual would move it once more, and late


class PaintedPage(ScrollView, Painted, can_focus=True, inherit_bindings=False):
    """Painted lines that scroll; only visible lines are drawn."""

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
        """The first visible line."""
        return int(self.scroll_offset.y)

    def set_extent(self, width: int, height: int) -> None:
        """How much there is to scroll in, in cells. Where a scroll bar stays, nothing is laid out again."""
        before, size = self.virtual_size, Size(width, height)
        if self.show_vertical_scrollbar and width == before.width and height > self.scrollable_content_region.height:
            self.set_reactive(Widget.virtual_size, size)
            self._scroll_update(size)
        else:
            self.virtual_size = size

    def on_show(self) -> None:
        """Lay out again when the widget is shown; without a change of size there is no resize event."""
        self.on_resize()

    def on_resize(self) -> None:
        """Lay the lines out for the new size."""

    def current_lines(self) -> tuple[int, int]:
        """The first and the last line that must be visible."""
        return 0, 0

    def watch_show_vertical_scrollbar(self, shown: bool) -> None:
        """Scroll to the current lines once there is a scroll bar; before that, Textual does not scroll."""
        if shown:
            self.call_after_refresh(self.follow)

    def follow(self) -> None:
        """Scroll as little as possible to make the current lines visible."""
        (first, last), height = self.current_lines(), self.scrollable_content_region.height
        limit = max(0, self.virtual_size.height - height)
        if self.top > limit:  # the panel grew
            self.scroll_to(y=limit, animate=False, immediate=True)
        if first < self.top:
            self.scroll_to(y=first, animate=False, immediate=True)
        elif last >= self.top + height:
            self.scroll_to(y=last + 1 - height, animate=False, immediate=True)
