"""The index of lenses beside the chart, in the place of the lens that a person has not chosen yet."""

from collections.abc import Callable, Mapping

from textual import events
from textual.content import Content
from textual.widgets import OptionList

from core.language import _
from tui.lenses.chart import ChartLens
from tui.screens.lens_index import entries

MARK = 6
"""Cells of a line before the name of a lens, and at its end."""


class LensMenu(OptionList, can_focus=False):
    """A click chooses a lens. It takes no keys: those of the walk act, and one of them opens the index as a dialog."""

    def __init__(self, keys: Callable[[], Mapping[str, str]]) -> None:
        super().__init__(id="menu")
        self.border_title = Content(_("lenses"))
        self._keys = keys

    def on_show(self) -> None:
        self._fill()

    def on_resize(self, event: events.Resize) -> None:
        self._fill()

    def _fill(self) -> None:
        """Write the lines for the present width. The lenses are imported only where they are listed."""
        if self.scrollable_content_region.width:
            self.set_options(entries(ChartLens, self._keys(), self.scrollable_content_region.width - MARK))
