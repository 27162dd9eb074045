"""The editor of the prompt, the only text that is tokenized."""

from rich.text import Text
from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.geometry import Region
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import TextArea
from textual.widgets.text_area import TextAreaTheme

from core.language import N_, _
from tui.drawing.text import in_place
from tui.keys import NEWLINE

LONGEST = 4_000_000
"""Characters a prompt may have."""
PROMPT = N_("Write a prompt, such as: I prefer oat milk in. What comes next appears as you type.")
MESSAGE = N_("Write the next message.")
LONG_LINE = 20_000
"""Characters of a line from which wrapping is off, as wrapping it at each key would be slow."""


class PromptPanel(TextArea):
    """A multi-line editor."""

    BINDINGS = [NEWLINE, Binding("ctrl+underscore", "undo", "Undo", show=False)]

    class Refused(Message):
        """A paste would make the prompt longer than allowed."""

        def __init__(self, length: int) -> None:
            super().__init__()
            self.length = length

    def __init__(self, text: str) -> None:
        super().__init__(
            text,
            id="prompt",
            soft_wrap=_wraps(text),
            tab_behavior="focus",
            highlight_cursor_line=False,
            placeholder=_(PROMPT),
        )
        self.border_title = Content(_("prompt"))
        self._described = "", ""
        self._colored: TextAreaTheme | None = None
        """The theme whose colors are applied; None after they may have changed."""
        self.cursor_blink = False
        self.move_cursor(self.document.end)

    def action_newline(self) -> None:
        """Begin a new line at the cursor."""
        self.insert("\n")

    def describe(self, title: str, hint: str, *, message: bool) -> None:
        """Title the panel, with a hint in its lower border; say that it takes a `message` of a conversation."""
        self.placeholder = _(MESSAGE if message else PROMPT) if self.can_focus else ""
        if (title, hint) != self._described:  # Textual draws the whole panel again where a title is set
            self._described = title, hint
            self.border_title, self.border_subtitle = Content(title), Content(hint)

    def follow(self, text: str) -> None:
        """Show another text, such as the prompt of another branch."""
        self.soft_wrap = _wraps(text)
        self.load_text(text)
        self.move_cursor(self.document.end)

    def on_resize(self) -> None:
        self.refresh()  # lines of the old width are drawn before they are wrapped anew

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._colored = None

    def render_lines(self, crop: Region) -> list[Strip]:
        """The lines of a region; Textual's own looks all colors up again whenever anything on the screen is drawn."""
        if self._theme is not None and self._theme is self._colored:
            return ScrollView.render_lines(self, crop)
        self._colored = self._theme
        return super().render_lines(crop)

    def get_line(self, line_index: int) -> Text:
        """The line as it is drawn, without control characters."""
        return Text(in_place(self.document.get_line(line_index)), end="", no_wrap=True)

    def on_hide(self, event: events.Hide) -> None:
        event.prevent_default()  # the screen moves the focus; Textual would move it once more, and late

    async def _on_paste(self, event: events.Paste) -> None:
        if len(self.text) + len(event.text) > LONGEST:
            event.prevent_default()
            event.stop()
            self.post_message(self.Refused(len(event.text)))
        elif not _wraps(event.text):
            self.soft_wrap = False


def _wraps(text: str) -> bool:
    return max(map(len, text.split("\n"))) <= LONG_LINE
