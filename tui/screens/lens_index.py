"""The index of lenses: every lens by group, with what it shows and the key that opens it."""

import textwrap
from collections.abc import Mapping

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from core.language import _
from tui import lenses
from tui.drawing.cursor_list import CursorList
from tui.drawing.text import fit
from tui.lenses.base import Lens

NAME = 20
"""Cells of a name."""
MARK = 5
"""Cells before a name: of the cursor, whether the lens is shown, and its key."""
WIDE = 116
"""Cells of the dialog at most."""
BORDER = 13
"""Cells of a line that the dialog needs for itself."""


def entries(present: type[Lens], keys: Mapping[str, str], width: int, words: str = "") -> list[Option]:
    """The lines of the index in `width` cells: a heading for each group, and its lenses by name.

    Only the lenses that have every one of `words`.
    """
    options = []
    for group in lenses.GROUPS:
        members = [kind for kind in lenses.found() if group == kind.GROUP and _has(kind, words)]
        if members:
            options.append(Option(Content.styled(_(group), "bold $accent"), disabled=True))
        options += [Option(_line(kind, kind is present, keys, width), id=kind.NAME) for kind in members]
    return options


def _has(kind: type[Lens], words: str) -> bool:
    texts = (
        kind.NAME,
        *(each for text in (kind.TITLE, kind.DESCRIPTION, kind.GROUP, kind.ALSO) for each in (text, _(text))),
    )
    said = " ".join(texts).lower()
    return all(word in said for word in words.lower().split())


def _line(kind: type[Lens], present: bool, keys: Mapping[str, str], width: int) -> Content:
    room = max(10, width - NAME)
    first, *rest = textwrap.wrap(_(kind.DESCRIPTION), room)
    return Content.assemble(
        (f"{'●' if present else ' '} {keys.get(kind.NAME, ' '):<2}", "bold"),
        (fit(_(kind.TITLE), NAME), "bold"),
        ("".join([fit(first, room), *(f"\n{' ' * (MARK + NAME)}{fit(line, room)}" for line in rest)]), "$text-muted"),
    )


class LensIndex(ModalScreen[type[Lens] | None]):
    """Typing filters the list. `enter` answers with the lens under the cursor, `escape` with None."""

    BINDINGS = [
        Binding("escape", "dismiss(None)", "close", show=False),
        Binding("down", "move('cursor_down')", "down", show=False, priority=True),
        Binding("up", "move('cursor_up')", "up", show=False, priority=True),
        Binding("pagedown", "move('page_down')", "page down", show=False, priority=True),
        Binding("pageup", "move('page_up')", "page up", show=False, priority=True),
    ]

    def __init__(self, present: type[Lens], keys: Mapping[str, str]) -> None:
        super().__init__()
        self._present, self._keys = present, keys
        self._field = Input(placeholder=_("type to filter"), max_length=200)
        self._field.cursor_blink = False
        self._list = CursorList()
        self._list.can_focus = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide", id="lens-index") as dialog:
            dialog.border_subtitle = Content(_("↑↓ pick · ⏎ open · esc close"))
            yield self._field
            yield self._list

    def on_mount(self) -> None:
        self._field.focus()
        self._fill("")

    def on_resize(self) -> None:
        at = self._list.highlighted
        self._fill(self._field.value)
        self._list.highlighted = at
        self.call_after_refresh(self._list.scroll_to_highlight)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._fill(event.value)

    def _fill(self, words: str) -> None:
        room = min(WIDE, int(0.94 * self.app.size.width)) - BORDER
        options = entries(self._present, self._keys, room, words)
        self._list.fill(options or [Option(Content(_("no lens has these words")), disabled=True)])
        names = [option.id for option in options]
        first = next((at for at, name in enumerate(names) if name), None)
        self._list.highlighted = names.index(self._present.NAME) if self._present.NAME in names else first
        self._entitle()

    def _entitle(self) -> None:
        """The number of the lens under the cursor, in the order in which it turns."""
        names, at = [kind.NAME for kind in lenses.found()], self._list.highlighted
        id = None if at is None else self._list.get_option_at_index(at).id
        place = f"{names.index(id) + 1}/{len(names)}" if id else f"{len(names)}"
        self.query_one(".dialog").border_title = Content(_("lenses · {place}").format(place=place))

    def on_option_list_option_highlighted(self) -> None:
        self._entitle()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(lenses.named(event.option.id or ""))

    def on_input_submitted(self) -> None:
        self._list.action_select()

    def action_move(self, how: str) -> None:
        getattr(self._list, f"action_{how}")()
