"""A dialog with the Python source of a component and the equation it computes."""

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.highlight import highlight
from textual.widgets import Static

from core.language import _
from tui.dialogs.modal import Modal
from tui.drawing.text import one_line, prose


class SourceScreen(Modal[None]):
    """An equation and the lines of Python that compute it."""

    BINDINGS = [
        Binding("escape,q,enter", "dismiss(None)", "close", show=False),
        Binding("j,down", "scroll(1)", "down", show=False),
        Binding("k,up", "scroll(-1)", "up", show=False),
        Binding("space", "scroll(10)", "page down", show=False),
    ]

    def __init__(self, title: str, equation: str, code: str) -> None:
        super().__init__()
        self._title, self.equation, self.code = title, equation, code

    def compose(self) -> ComposeResult:
        with Vertical(id="source", classes="dialog wide") as dialog:
            dialog.border_title = Content(one_line(self._title))
            dialog.border_subtitle = Content(_("↑↓ scroll · esc close"))
            yield Static(Content(one_line(self.equation)), id="equation")
            with VerticalScroll(id="code"):
                yield Static(highlight(prose(self.code), language="python"))

    def action_scroll(self, by: int) -> None:
        self.query_one("#code").scroll_relative(y=by, animate=False)
