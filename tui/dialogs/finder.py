"""A dialog with a list that typing filters."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from core.language import _
from tui.dialogs.modal import Modal
from tui.drawing.cursor_list import FittedList

WIDE = 116
"""Cells of the dialog at most."""
BORDER = 8
"""Cells of a line that the dialog, the cursor and the scroll bar need."""


class Finder(Modal[str | None]):
    """Typing filters the list. `enter` answers with the id of the option under the cursor, `escape` with None.

    The dialog is as high as its whole list from the start: nothing else is drawn again while somebody types.
    """

    BINDINGS = [
        Binding("escape", "dismiss(None)", "close", show=False),
        Binding("down", "move('cursor_down')", "down", show=False, priority=True),
        Binding("up", "move('cursor_up')", "up", show=False, priority=True),
        Binding("pagedown", "move('page_down')", "page down", show=False, priority=True),
        Binding("pageup", "move('page_up')", "page up", show=False, priority=True),
        Binding("home", "move('first')", "first", show=False, priority=True),
        Binding("end", "move('last')", "last", show=False, priority=True),
    ]

    def __init__(self, placeholder: str, id: str) -> None:
        super().__init__()
        self._field = Input(placeholder=placeholder, max_length=200)
        self._field.cursor_blink = False
        self._list = FittedList()
        self._list.can_focus = False
        self._dialog = Vertical(self._field, self._list, classes="dialog wide finder", id=id)
        self._width = 0

    def listed(self, words: str, width: int) -> list[Option]:
        """What is listed for the words of the field, in `width` cells; headings are disabled."""
        raise NotImplementedError

    def likeliest(self, words: str, ids: Sequence[str]) -> str:
        """The id of the listed option where the cursor begins for these words: the first."""
        return ids[0]

    def heading(self, id: str | None, found: int | None) -> str:
        """The title of the dialog while the cursor is at an option; how many typing has `found`, None before that."""
        raise NotImplementedError

    @property
    def foot(self) -> str:
        """The keys of the dialog, which stand in its lower border."""
        return _("↑↓ pick · ⏎ choose · esc close")

    @property
    def nothing(self) -> str:
        """Said in place of an empty list."""
        raise NotImplementedError

    @property
    def present(self) -> str:
        """The id of the option where the cursor begins, if it is listed; else it begins at the first."""
        return ""

    def compose(self) -> ComposeResult:
        self._dialog.border_subtitle = Content(self.foot)
        self._fit()
        yield self._dialog

    def on_mount(self) -> None:
        self._field.focus()

    def on_resize(self) -> None:
        if self._width != self.app.size.width:
            at = self._list.highlighted
            self._fit(self._field.value)
            self._list.highlighted = at
            self.call_after_refresh(self._list.scroll_to_highlight)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._fill(event.value)

    def _fit(self, words: str = "") -> None:
        """Give the list its lines and the dialog its height for the present width."""
        self._width = self.app.size.width
        self._fill("")
        self._dialog.styles.height = 4 + sum(str(each.prompt).count("\n") + 1 for each in self._list.options)
        if words:
            self._fill(words)

    def _fill(self, words: str) -> None:
        options = self.listed(words, min(WIDE, int(0.94 * self._width)) - BORDER)
        places = {option.id: at for at, option in enumerate(options) if option.id}
        begins = self.present
        if places and (words.strip() or begins not in places):
            begins = self.likeliest(words, tuple(places))
        self._list.fill(options or [Option(Content(self.nothing), disabled=True)], places.get(begins))
        self._entitle()

    def _entitle(self) -> None:
        option = self._list.highlighted_option
        found = sum(each.id is not None for each in self._list.options) if self._field.value.strip() else None
        self._dialog.border_title = Content(self.heading(option.id if option else None, found))

    def on_option_list_option_highlighted(self) -> None:
        self._entitle()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)

    def on_input_submitted(self) -> None:
        self._list.action_select()

    def action_move(self, how: str) -> None:
        getattr(self._list, f"action_{how}")()
        if how == "first":
            self._list.scroll_home(animate=False)  # to the heading above it
