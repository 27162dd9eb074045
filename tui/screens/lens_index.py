"""The index of lenses: every lens by group, with what it shows and the key that opens it."""

from collections.abc import Mapping

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from core.language import _
from tui import lenses
from tui.drawing.text import fit
from tui.lenses.base import Lens

NAME = 20
"""Cells of a name."""
WIDE = 116
"""Cells of the dialog at most."""
BORDER = 12
"""Cells of a line that the dialog needs for itself."""


def entries(present: type[Lens], keys: Mapping[str, str], width: int) -> list[Option]:
    """The lines of the index in `width` cells: a heading for each group, and its lenses by name."""
    options = []
    for group in lenses.GROUPS:
        members = [kind for kind in lenses.found() if group == kind.GROUP]
        if members:
            options.append(Option(Content.styled(_(group), "bold $accent"), disabled=True))
        options += [Option(_line(kind, kind is present, keys, width), id=kind.NAME) for kind in members]
    return options


def _line(kind: type[Lens], present: bool, keys: Mapping[str, str], width: int) -> Content:
    return Content.assemble(
        (f"{'●' if present else ' '} {keys.get(kind.NAME, ' '):<2}", "bold"),
        (fit(_(kind.TITLE), NAME), "bold"),
        (fit(_(kind.DESCRIPTION), max(10, width - NAME)), "$text-muted"),
    )


class LensIndex(ModalScreen[type[Lens] | None]):
    """`enter` answers with the lens under the cursor, `escape` with None."""

    BINDINGS = [
        Binding("escape,q", "dismiss(None)", "close", show=False),
        Binding("j", "down", "down", show=False),
        Binding("k", "up", "up", show=False),
    ]

    def __init__(self, present: type[Lens], keys: Mapping[str, str]) -> None:
        super().__init__()
        self._present, self._keys = present, keys

    def compose(self) -> ComposeResult:
        kinds = lenses.found()
        with Vertical(classes="dialog wide") as dialog:
            dialog.border_title = Content(
                _("lenses · {index}/{count}").format(index=kinds.index(self._present) + 1, count=len(kinds))
            )
            dialog.border_subtitle = Content(_("⏎ open · esc close"))
            room = min(WIDE, int(0.94 * self.app.size.width)) - BORDER
            yield OptionList(*entries(self._present, self._keys, room))

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.highlighted = options.get_option_index(self._present.NAME)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(lenses.named(event.option.id or ""))

    def action_down(self) -> None:
        self.query_one(OptionList).action_cursor_down()

    def action_up(self) -> None:
        self.query_one(OptionList).action_cursor_up()
