"""Owns the row of words that stands for panels where a terminal is too small to show them all."""

from collections.abc import Mapping

from textual import events
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget


class TabBar(Widget):
    """Names of pages, the active one underlined; a click chooses one."""

    ALLOW_SELECT = False
    active: reactive[str] = reactive("")

    class Chosen(Message):
        """A name was clicked."""

        def __init__(self, page: str) -> None:
            super().__init__()
            self.page = page

    def __init__(self, pages: Mapping[str, str]) -> None:
        super().__init__(id="tabs")
        self._pages = dict(pages)

    def rename(self, page: str, words: str) -> None:
        """Let a page have another name."""
        self._pages[page] = words
        self.refresh()

    def render(self) -> Content:
        return Content("   ").join(
            Content.styled(words, "bold underline $accent" if page == self.active else "$text-muted")
            for page, words in self._pages.items()
        )

    def on_click(self, event: events.Click) -> None:
        left = 0
        for page, words in self._pages.items():
            if left <= event.get_content_offset_capture(self).x < left + len(words):
                self.post_message(self.Chosen(page))
            left += len(words) + 3
