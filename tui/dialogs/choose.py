"""A dialog with a list, from which one entry is chosen or none."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from core.language import _
from tui.dialogs.modal import Modal
from tui.drawing.cursor_list import CursorList
from tui.drawing.text import fit, one_line

WIDTH = 64
"""Cells for the name and the description of an entry."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the list. `id` is the answer of the dialog; an entry that is not enabled cannot be chosen."""

    id: str
    name: str
    description: str
    enabled: bool = True


class ChooseScreen(Modal[str | None]):
    """A list. `enter` answers with the id of an entry, `escape` with None."""

    BINDINGS = [
        Binding("escape,q", "dismiss(None)", "close", show=False),
        Binding("j", "down", "down", show=False),
        Binding("k", "up", "up", show=False),
    ]

    def __init__(self, title: str, entries: Sequence[Entry], present: str) -> None:
        super().__init__()
        self._entries = entries
        self._present = present
        self._title = title

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content(self._title)
            dialog.border_subtitle = Content(_("⏎ choose · esc close"))
            found = CursorList()
            found.fill(
                (Option(self._line(each), each.id, not each.enabled) for each in self._entries),
                at=next((n for n, each in enumerate(self._entries) if each.id == self._present), 0),
            )
            yield found

    def _line(self, entry: Entry) -> Content:
        width = max(cell_len(e.name) for e in self._entries)
        mark = "●" if entry.id == self._present else " "
        room = min(WIDTH, int(0.94 * self.app.size.width) - 12) - width
        lines = textwrap.wrap(one_line(entry.description), max(10, room)) or [""]
        return Content.assemble(
            (f"{mark} ", "bold"),
            (fit(one_line(entry.name), width + 2), "bold"),
            (f"\n{' ' * (width + 5)}".join(lines), "$text-muted"),
        )

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)

    def action_down(self) -> None:
        self.query_one(OptionList).action_cursor_down()

    def action_up(self) -> None:
        self.query_one(OptionList).action_cursor_up()
