"""What the loaded model is: sizes, number formats, files, tokenizer, adapter, and what computes it."""

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from core.language import _
from tui.dialogs.modal import Modal
from tui.drawing.text import ending, fit, one_line
from tui.reports.model_details import Section, sections
from tui.runner import Frame, Question

if TYPE_CHECKING:
    from core.loading.details import ModelDetails

NAMES = 16
"""Cells of the names of rows at most."""


class DetailsTable(Static):
    """Sections of rows, wrapped to the width there is."""

    def __init__(self) -> None:
        super().__init__(Content.styled(_("a moment …"), "$text-muted"))
        self.sections: list[Section] = []

    def on_resize(self) -> None:
        self.draw()

    def draw(self) -> None:
        """Draw what is known."""
        if self.sections:
            self.update(Content("\n").join(self._lines()))

    def _lines(self) -> list[Content]:
        widest = max(cell_len(name) for section in self.sections for name, _text in section.rows)
        width = min(NAMES, widest) + 4
        room = max(20, self.size.width - width)
        lines: list[Content] = []
        for section in self.sections:
            lines += [Content(""), Content.styled(section.title, "bold $accent")] if lines else []
            lines = lines or [Content.styled(section.title, "bold $accent")]
            for name, text in section.rows:
                wrapped = f"\n{' ' * width}".join(textwrap.wrap(text, room) or [""])
                lines.append(Content.assemble((fit(f"  {name}", width), "$text-disabled"), (wrapped, "$foreground")))
        return lines


class ModelDetailsScreen(Modal[None]):
    """The dialog. `ask` is called to have `found` called with the details of the present model, soon."""

    BINDINGS = [
        Binding("escape,q,K,enter", "dismiss(None)", "close", show=False),
        Binding("j,down", "scroll(1)", "down", show=False),
        Binding("k,up", "scroll(-1)", "up", show=False),
        Binding("space,pagedown", "scroll(10)", "page down", show=False),
        Binding("pageup", "scroll(-10)", "page up", show=False),
    ]

    def __init__(self, frame: Frame, ask: Callable[[], None]) -> None:
        super().__init__()
        self._model, self._ask = frame.model, ask
        self._table = DetailsTable()

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="model-details", classes="dialog", can_focus=True) as dialog:
            dialog.border_title = Content(ending(one_line(self._model.label if self._model else _("model")), 40))
            dialog.border_subtitle = Content(_("↑↓ scroll · esc close"))
            yield self._table

    def on_mount(self) -> None:
        self._ask()

    @property
    def sections(self) -> Sequence[Section]:
        """What is known; nothing until it was found."""
        return self._table.sections

    def question(self) -> Question | None:
        """None: what it shows does not change with the walk."""
        return None

    def found(self, details: "ModelDetails") -> None:
        """Show the details."""
        if self._table.is_attached:
            self._table.sections = sections(details)
            self._table.draw()

    def show(self, frame: Frame) -> None:
        """Ask again where another model has been loaded."""
        if frame.model != self._model:
            self._model = frame.model
            self._ask()

    def action_scroll(self, by: int) -> None:
        self.query_one("#model-details").scroll_relative(y=by, animate=False)
