"""A dialog that asks for one line of text."""

from collections.abc import Callable

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from core.errors import UserError
from core.language import _
from tui.dialogs.modal import Modal
from tui.drawing.text import one_line
from tui.notices import spelled


class LineScreen(Modal[str | None]):
    """A line. `enter` answers with it unless `check` raises a `UserError`, `escape` answers with None."""

    BINDINGS = [Binding("escape", "dismiss(None)", "close", show=False)]

    def __init__(
        self, title: str, hint: str, present: str = "", *, check: Callable[[str], object] = lambda _: None
    ) -> None:
        super().__init__()
        self._title, self._hint, self._present, self._check = title, hint, present, check
        self._problem = Static(Content(""), classes="problem")

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content(self._title)
            dialog.border_subtitle = Content(_("⏎ accept · esc close"))
            yield Static(Content(self._hint))
            field = Input(one_line(self._present), max_length=4000)
            field.cursor_blink = False
            yield field
            yield self._problem

    def on_input_submitted(self, event: Input.Submitted) -> None:
        try:
            self._check(event.value)
        except UserError as error:
            self._problem.update(Content(spelled(self, error)))
            self._problem.add_class("shown")
        else:
            self.dismiss(event.value)
