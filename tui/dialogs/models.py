"""The dialog that chooses a model: a list that typing filters, or a path, or an id of the Hugging Face Hub."""

from collections.abc import Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from core.errors import UserError
from core.language import _
from core.loading import paths, revisions
from core.loading.listing import Offer
from core.remote.address import is_address
from tui.dialogs.modal import Modal
from tui.drawing.cursor_list import CursorList
from tui.drawing.origins import origin_text
from tui.drawing.text import bytes_text, ending, fit, one_line

NAME, KIND, SIZE = 24, 24, 8
"""Cells of the columns; what is left is for the problem."""


@dataclass(frozen=True, slots=True)
class Picked:
    """The answer: a model, or a LoRA adapter for the present one."""

    name: str
    adapter: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the list."""

    offer: Offer
    kind: str = "model"


class ModelsScreen(Modal[Picked | None]):
    """Models in one line each. `enter` chooses or goes into a folder, `tab` completes a path, `escape` closes."""

    BINDINGS = [
        Binding("escape", "dismiss(None)", "close", show=False),
        Binding("down", "move(1)", "down", show=False, priority=True),
        Binding("up", "move(-1)", "up", show=False, priority=True),
        Binding("pagedown", "move(10)", "page down", show=False, priority=True),
        Binding("pageup", "move(-10)", "page up", show=False, priority=True),
        Binding("home", "edge(-1)", "first", show=False, priority=True),
        Binding("end", "edge(1)", "last", show=False, priority=True),
        Binding("tab", "complete", "complete", show=False, priority=True),
    ]

    def __init__(self, offers: Sequence[Offer], present: str, adapters: Sequence[Offer] = ()) -> None:
        super().__init__()
        self._offers, self._adapters = offers, adapters
        self.present = present
        """The name of the model that is loaded."""
        self.rows: list[Row] = []
        """What is listed."""
        self._field = Input(
            placeholder=_("type to filter, or a path, owner/name of the Hub, or http://host:port"), max_length=4000
        )
        self._field.cursor_blink = False
        self._list = CursorList()
        self._list.can_focus = False
        self._details = Static(Content(""), id="details-of-model")

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide", id="models") as dialog:
            dialog.border_title = Content(_("model"))
            dialog.border_subtitle = Content(_("↑↓ pick · ⏎ choose · tab complete · esc close"))
            yield self._field
            yield self._list
            yield self._details

    def on_mount(self) -> None:
        self._field.focus()
        self._fill(self._named(""))

    def on_input_changed(self, event: Input.Changed) -> None:
        text = event.value.strip()
        self._fill(self._at(text) if paths.is_path(text) and not is_address(text) else self._named(text))

    def _named(self, text: str) -> list[Row]:
        """The models whose name, kind or description has every word of the text; a Hub id is one too."""
        if is_address(text):
            return [Row(Offer(text, _("engine elsewhere"), _("vLLM, llama-server or SGLang; is asked what it serves")))]
        words = text.lower().split()
        rows = [Row(each) for each in self._offers if all(word in _words(each) for word in words)]
        rows += [Row(each, "adapter") for each in self._adapters if all(word in _words(each) for word in words)]
        if _is_hub_id(text) and text not in [row.offer.name for row in rows]:
            where = _("is fetched, if it is not on this machine")
            rows.append(Row(Offer(text, _("Hugging Face Hub"), where)))
            rows.append(
                Row(Offer(text, _("LoRA adapter"), _("for the present model; {where}").format(where=where)), "adapter")
            )
        return rows

    def _at(self, text: str) -> list[Row]:
        """What a path can continue to."""
        return [Row(place.offer, place.kind) for place in paths.places(text)]

    def _fill(self, rows: list[Row]) -> None:
        self.rows = rows
        width = max(20, min(116, int(0.94 * self.app.size.width)) - 7)
        self._list.fill(Option(self._line(row, width)) for row in rows)
        names = [row.offer.name for row in rows]
        self._list.highlighted = (names.index(self.present) if self.present in names else 0) if rows else None
        self._describe()

    def _line(self, row: Row, width: int) -> Content:
        offer = row.offer
        size = "" if offer.size_bytes is None else bytes_text(offer.size_bytes)
        name = NAME + max(0, width - 103)
        problem = "" if offer.problem is None else f" {offer.problem}"
        left = max(0, width - 2 - name - KIND - SIZE)
        dim = "$text-disabled" if offer.problem else "$foreground"
        return Content.assemble(
            ("● " if offer.name == self.present else "  ", "bold"),
            (fit(_short(offer.name, name - 1), name - 1) + " ", f"bold {dim}"),
            (fit(one_line(offer.family), KIND - 1) + " ", "$text-muted"),
            (size.rjust(SIZE), "$text-muted"),
            (fit(one_line(problem), left), "$warning"),
        )

    def _describe(self) -> None:
        """The whole name, what it is and what is wrong with it, of the row under the cursor."""
        at = self._list.highlighted
        if at is None or at >= len(self.rows):
            text = (
                _("nothing here begins like that")
                if paths.is_path(self._field.value)
                else _("no model has these words")
            )
            self._details.update(Content.styled(text, "$text-disabled"))
            return
        offer = self.rows[at].offer
        words = " · ".join(
            one_line(part) for part in (offer.name, offer.family, origin_text(offer.description)) if part
        )
        if offer.problem:
            words = _("{name} cannot be loaded: {problem}").format(
                name=one_line(offer.name), problem=one_line(offer.problem)
            )
        self._details.update(Content.styled(words, "$warning" if offer.problem else "$text-muted"))

    def on_option_list_option_highlighted(self) -> None:
        self._describe()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._choose(event.option_index)

    def on_input_submitted(self) -> None:
        text = self._field.value.strip()
        if self._list.highlighted is not None and self.rows:
            self._choose(self._list.highlighted)
        elif text:
            self.dismiss(Picked(text))  # loading says what is wrong with it

    def _choose(self, at: int) -> None:
        row = self.rows[at]
        if row.kind == "folder":
            self._type(row.offer.name)
        elif row.offer.problem is None:
            self.dismiss(Picked(row.offer.name, row.kind == "adapter"))

    def action_move(self, by: int) -> None:
        if self.rows:
            at = (self._list.highlighted or 0) + by
            self._list.highlighted = max(0, min(at, len(self.rows) - 1))

    def action_edge(self, by: int) -> None:
        """The first or last row; in a text that is typed, its beginning or end."""
        if self._field.value:
            self._field.cursor_position = 0 if by < 0 else len(self._field.value)
        else:
            self.action_move(by * len(self.rows))

    def action_complete(self) -> None:
        if self.rows and (at := self._list.highlighted) is not None:
            self._type(self.rows[at].offer.name)

    def _type(self, text: str) -> None:
        self._field.value = text
        self._field.cursor_position = len(text)


def _short(name: str, most: int) -> str:
    """A name in one line; of a long path its end."""
    return ending(one_line(name), most) if paths.is_path(name) else one_line(name)


def _words(offer: Offer) -> str:
    return f"{offer.name} {offer.family} {offer.description}".lower()


def _is_hub_id(text: str) -> bool:
    try:
        return "/" in text and revisions.split(text) is not None
    except UserError:
        return False
