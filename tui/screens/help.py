"""Owns the help: every key and what it does, read from the one list of keys."""

from collections.abc import Mapping, Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.keys import GROUPS, WALK

MOODS = (
    "Two moods. In WRITE the prompt takes every key; escape or ctrl+j leaves it. In WALK single keys act. "
    "tab goes to the next panel, page up and page down scroll it, ctrl+p finds any action by name."
)


class HelpScreen(ModalScreen[None]):
    """What each key does; `keys` names those that are bound to an id now."""

    BINDINGS = [Binding("escape,q,question_mark,enter", "dismiss(None)", "close", show=False)]

    def __init__(self, keys: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self._keys = keys

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog", can_focus=True) as dialog:
            dialog.border_title = Content("keys")
            dialog.border_subtitle = Content("esc closes")
            yield Static(Content(MOODS))
            yield Static(self._table())

    def _table(self) -> Content:
        bindings = {binding.id: binding for binding in WALK}
        lines: list[Content] = []
        for group, ids in GROUPS.items():
            lines.append(Content(""))
            lines.append(Content.styled(group, "bold $accent"))
            for id in ids:
                binding = bindings[id]
                lines.append(
                    Content.assemble(
                        (f"  {' '.join(self._keys.get(id, ())):<10}", "$foreground"),
                        (self._words(binding), "$text-muted"),
                    )
                )
        return Content("\n").join(lines)

    def _words(self, binding: Binding) -> str:
        return "Take the first to ninth candidate" if binding.id == "walk.take_1" else binding.tooltip
