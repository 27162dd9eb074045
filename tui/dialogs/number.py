"""Owns the dialog that asks for one whole number."""

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static


class NumberScreen(ModalScreen[int | None]):
    """A number from 0 on; `enter` takes it, `escape` leaves everything as it was."""

    BINDINGS = [Binding("escape", "dismiss(None)", "close", show=False)]

    def __init__(self, title: str, words: str, present: int) -> None:
        super().__init__()
        self._title, self._words, self._present = title, words, present

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content(self._title)
            dialog.border_subtitle = Content("⏎ take · esc close")
            yield Static(Content(self._words))
            field = Input(str(self._present), type="integer", max_length=18, restrict=r"[0-9]*")
            field.cursor_blink = False
            yield field

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(int(event.value) if event.value else None)
