"""A dialog that asks for one whole number."""

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from core.language import _
from tui.dialogs.modal import Modal


class NumberScreen(Modal[int | None]):
    """A number of at least 0. `enter` answers with it, `escape` with None."""

    BINDINGS = [Binding("escape", "dismiss(None)", "close", show=False)]

    def __init__(self, title: str, hint: str, present: int) -> None:
        super().__init__()
        self._title, self._hint, self._present = title, hint, present

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content(self._title)
            dialog.border_subtitle = Content(_("⏎ accept · esc close"))
            yield Static(Content(self._hint))
            field = Input(str(self._present), type="integer", max_length=18, restrict=r"[0-9]*")
            field.cursor_blink = False
            yield field

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(int(event.value) if event.value else None)
