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
            yield OptionList(*self._options())

    def _options(self) -> list[Option]:
        options = []
        for group in lenses.GROUPS:
            members = [kind for kind in lenses.found() if group == kind.GROUP]
            if members:
                options.append(Option(Content.styled(_(group), "bold $accent"), disabled=True))
            options += [Option(self._line(kind), id=kind.NAME) for kind in members]
        return options

    def _line(self, kind: type[Lens]) -> Content:
        mark = "●" if kind is self._present else " "
        room = max(10, min(WIDE, int(0.94 * self.app.size.width)) - BORDER - NAME)
        return Content.assemble(
            (f"{mark} {self._keys.get(kind.NAME, ' '):<2}", "bold"),
            (fit(_(kind.TITLE), NAME), "bold"),
            (fit(_(kind.DESCRIPTION), room), "$text-muted"),
        )

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.highlighted = options.get_option_index(self._present.NAME)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(lenses.named(event.option.id or ""))

    def action_down(self) -> None:
        self.query_one(OptionList).action_cursor_down()

    def action_up(self) -> None:
        self.query_one(OptionList).action_cursor_up()
