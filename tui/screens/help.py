"""The help: every key of the walk and what it does, from the list in `tui.keys`."""

import textwrap
from collections.abc import Mapping, Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from core.language import N_, _
from tui.dialogs.modal import Modal
from tui.keys import FOLLOW, GROUPS, WALK

MODES = N_(
    "There are two modes. WRITE: keys type into the prompt; enter or escape ends it, ctrl+j begins a new line. "
    "WALK: single keys act. "
    "tab goes to the next panel, page up and page down scroll it, ctrl+p finds any action by name."
)

KEYS = 12
"""Cells of the keys of an action."""


class KeyTable(Static):
    """The keys by group. `keys` gives, by the id of an action that is possible, the keys that are bound to it."""

    def __init__(self, keys: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self._keys = keys

    def on_resize(self) -> None:
        bindings = {binding.id: binding for binding in (*WALK, *FOLLOW)}
        lines, room = list[Content](), max(20, self.size.width - KEYS)
        for group, all_ids in GROUPS.items():
            if not (ids := [id for id in all_ids if id in self._keys]):
                continue
            lines.append(Content(""))
            lines.append(Content.styled(_(group), "bold $accent"))
            lines += [self._line(bindings[id], room) for id in ids]
        self.update(Content("\n").join(lines))

    def _line(self, binding: Binding, room: int) -> Content:
        """The keys of an action, and what it does in lines beside them."""
        keys = " ".join(self._keys.get(binding.id or "", ()))
        words = f"\n{' ' * KEYS}".join(textwrap.wrap(described(binding), room))
        return Content.assemble((f"  {keys}".ljust(KEYS), "$foreground"), (words, "$text-muted"))


class HelpScreen(Modal[None]):
    """What each key does."""

    BINDINGS = [Binding("escape,q,question_mark,enter", "dismiss(None)", "close", show=False)]

    def __init__(self, keys: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self._keys = keys

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog", can_focus=True) as dialog:
            dialog.border_title = Content(_("keys"))
            dialog.border_subtitle = Content(_("esc closes"))
            if "walk.write" in self._keys:
                yield Static(Content(_(MODES)))
            yield KeyTable(self._keys)


def described(binding: Binding) -> str:
    """What a key does; the keys 1 to 9 share one line."""
    return _("Take the first to ninth candidate") if binding.id == "walk.take_1" else _(binding.tooltip)
