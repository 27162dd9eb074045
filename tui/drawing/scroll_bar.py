"""A scroll bar drawn as a thin line, so that its thumb does not look like a bar of a chart; text keeps a gap to it."""

from rich.color import Color
from rich.segment import Segment, Segments
from rich.style import Style
from textual.scrollbar import ScrollBarRender


class ThinScrollBar(ScrollBarRender):
    """The thumb is a line through whole cells, of which two side by side show one, the right one; the rest is blank."""

    @classmethod
    def render_bar(
        cls,
        size: int = 25,
        virtual_size: float = 50,
        window_size: float = 20,
        position: float = 0,
        thickness: int = 1,
        vertical: bool = True,
        back_color: Color = Color.parse("#555555"),
        bar_color: Color = Color.parse("bright_magenta"),
    ) -> Segments:
        drawn = super().render_bar(
            size, virtual_size, window_size, position, thickness, vertical, back_color, bar_color
        )
        line = Style(color=bar_color, bgcolor=back_color)
        thumb = "┃" if vertical else "━"
        segments = [
            Segment(thumb.rjust(len(each.text)), line + Style(meta=each.style.meta))
            if each.style and each.style.meta.get("@mouse.down") == "grab"
            else each
            for each in drawn.segments
        ]
        return Segments(segments, new_lines=drawn.new_lines)
