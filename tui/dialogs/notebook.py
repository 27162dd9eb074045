"""A dialog with the lines of Python that compute what a lens shows, and with the forms in which that is exported."""

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.highlight import highlight
from textual.widgets import Static

from core.language import _
from tui.dialogs.modal import Modal
from tui.drawing.code import broken
from tui.drawing.text import one_line, prose


class Code(Static):
    """Lines of Python; the rest of one that has no room is indented below it."""

    def __init__(self, code: str) -> None:
        super().__init__()
        self._lines = prose(code).split("\n")

    def on_resize(self) -> None:
        parts = [part for line in self._lines for part in broken(line, self.size.width, mark="")]
        self.update(highlight("\n".join(parts), language="python"))


class NotebookScreen(Modal[str | None]):
    """Answers with `copy`, or with the form to write: `json`, `csv` or `svg`; `escape` answers with None."""

    BINDINGS = [
        Binding("escape,q,enter", "dismiss(None)", "close", show=False),
        Binding("y", "dismiss('copy')", "copy", show=False),
        Binding("j", "dismiss('json')", "JSON", show=False),
        Binding("c", "dismiss('csv')", "CSV", show=False),
        Binding("s", "dismiss('svg')", "SVG", show=False),
        Binding("down", "scroll(1)", "down", show=False),
        Binding("up", "scroll(-1)", "up", show=False),
    ]

    def __init__(self, title: str, code: str) -> None:
        super().__init__()
        self._title, self.code = title, code

    def compose(self) -> ComposeResult:
        with Vertical(id="notebook", classes="dialog wide") as dialog:
            dialog.border_title = Content(one_line(self._title))
            dialog.border_subtitle = Content(_("y copy · write j JSON · c CSV · s SVG picture · esc close"))
            yield Static(Content(_("These lines compute the same in a notebook:")), classes="asks")
            with VerticalScroll(id="code"):
                yield Code(self.code)

    def action_scroll(self, by: int) -> None:
        self.query_one("#code").scroll_relative(y=by, animate=False)
