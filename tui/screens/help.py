"""The help: every key of the walk and what it does, from the list in `tui.keys`."""

from collections.abc import Mapping, Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from core.language import N_, _
from tui.keys import GROUPS, WALK

MODES = N_(
    "There are two modes. WRITE: keys type into the prompt; enter or escape ends it, ctrl+j begins a new line. "
    "WALK: single keys act. "
    "tab goes to the next panel, page up and page down scroll it, ctrl+p finds any action by name."
)


class HelpScreen(ModalScreen[None]):
    """What each key does. `keys` gives, by the id of an action, the keys that are bound to it at present."""

    BINDINGS = [Binding("escape,q,question_mark,enter", "dismiss(None)", "close", show=False)]

    def __init__(self, keys: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self._keys = keys

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog", can_focus=True) as dialog:
            dialog.border_title = Content(_("keys"))
            dialog.border_subtitle = Content(_("esc closes"))
            yield Static(Content(_(MODES)))
            yield Static(self._table())

    def _table(self) -> Content:
        bindings = {binding.id: binding for binding in WALK}
        lines: list[Content] = []
        for group, ids in GROUPS.items():
            lines.append(Content(""))
            lines.append(Content.styled(_(group), "bold $accent"))
            for id in ids:
                binding = bindings[id]
                lines.append(
                    Content.assemble(
                        (f"  {' '.join(self._keys.get(id, ())):<10}", "$foreground"),
                        (_description(binding), "$text-muted"),
                    )
                )
        return Content("\n").join(lines)


def _description(binding: Binding) -> str:
    """What a key does; the keys 1 to 9 share one line."""
    return _("Take the first to ninth candidate") if binding.id == "walk.take_1" else _(binding.tooltip)
