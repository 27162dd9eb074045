"""The row of tabs, which chooses one panel where the terminal is too small to show all of them."""

from collections.abc import Mapping

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget


class TabBar(Widget):
    """Titles of pages, the active one underlined; a click chooses one."""

    ALLOW_SELECT = False
    active: reactive[str] = reactive("")

    class Chosen(Message):
        """A title was clicked."""

        def __init__(self, page: str) -> None:
            super().__init__()
            self.page = page

    def __init__(self, pages: Mapping[str, str]) -> None:
        super().__init__(id="tabs")
        self._pages = dict(pages)

    def rename(self, page: str, title: str) -> None:
        """Give a page another title."""
        self._pages[page] = title
        self.refresh()

    def render(self) -> Content:
        return Content("   ").join(
            Content.styled(title, "bold underline $accent" if page == self.active else "$text-muted")
            for page, title in self._pages.items()
        )

    def on_click(self, event: events.Click) -> None:
        left = 0
        for page, title in self._pages.items():
            if left <= event.get_content_offset_capture(self).x < left + cell_len(title):
                self.post_message(self.Chosen(page))
            left += cell_len(title) + 3
