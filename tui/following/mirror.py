"""The lens that the teacher looks at, as the teacher sees it: lines that were sent, and no model."""

from textual.content import Content
from textual.geometry import Size

from core.language import N_, _
from tui.drawing.text import one_line
from tui.lenses.base import LensPage
from tui.runner import Frame
from tui.sharing.view import View, strips_of

SIDEWAYS = 8
"""Cells by which lines move that are wider than the panel."""


class MirrorLens(LensPage[None]):
    """Its lines are as wide as those of the teacher; it scrolls where they have no room here."""

    NAME = "mirror"
    TITLE = N_("the teacher's lens")

    def __init__(self) -> None:
        super().__init__()
        self._view = View("")
        self._left = 0

    def question(self) -> None:
        return None

    def show(self, frame: Frame) -> None:
        """Nothing: frames are not drawn here."""

    def show_view(self, view: View) -> None:
        """Show what the teacher's lens shows, from the line that stands first there."""
        if view is self._view:
            return
        moved = (view.name, view.cursor) != (self._view.name, self._view.cursor)
        self._view = view
        self.draw()
        if moved:
            self.call_after_refresh(self.follow)

    def follow(self) -> None:
        """Begin where the teacher's panel begins; also called when there is a scroll bar, before which none scrolls."""
        self.scroll_to(y=self._view.cursor, animate=False, immediate=True)

    def adjust(self, down: int, across: int) -> None:
        self._left += SIDEWAYS * across
        self.draw()

    def draw(self) -> None:
        self.border_title = Content(one_line(self._view.title))
        self.border_subtitle = Content(_("as the teacher sees it"))
        if not self.size:
            return
        ground, width = self.style_of(), self.columns
        self._left = max(0, min(self._left, self._view.width - width))
        lines = strips_of(self._view, ground)
        self._drawn = [each.crop(self._left, self._left + width).adjust_cell_length(width, ground) for each in lines]
        self.virtual_size = Size(width, len(lines))
        self.refresh()
