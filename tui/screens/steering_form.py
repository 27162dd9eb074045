"""The form of a new steering vector: two sets of prompts, which positions count, and a name."""

from dataclasses import dataclass

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Checkbox, Input, Static, TextArea

from core.bounded import expanded, read_file
from core.causal.prompts import Positions, prompts_of
from core.errors import UserError
from core.language import _
from tui.dialogs.modal import Modal
from tui.notices import spelled


@dataclass(frozen=True, slots=True)
class VectorRecipe:
    """What a steering vector is made of."""

    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    positions: Positions = "last"
    name: str = ""


class SteeringForm(Modal[VectorRecipe | None]):
    """`tab` goes from field to field; `enter` in the name makes the vector, `escape` closes."""

    BINDINGS = [Binding("escape", "dismiss(None)", "close", show=False, priority=True)]

    def __init__(self, present: VectorRecipe) -> None:
        super().__init__()
        self.positive = TextArea("\n".join(present.positive), id="positive", tab_behavior="focus")
        self.negative = TextArea("\n".join(present.negative), id="negative", tab_behavior="focus")
        for field in (self.positive, self.negative):
            field.cursor_blink = False
        self.mean = Checkbox(_("mean over all positions, not only the last one"), present.positions == "mean")
        self.name_field = Input(present.name, placeholder=_("a name, such as joy"), max_length=80)
        self.name_field.cursor_blink = False
        self.problem = Static(Content(""), classes="problem")

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="steering-form") as dialog:
            dialog.border_title = Content(_("a new steering vector"))
            dialog.border_subtitle = Content(_("tab next field · ⏎ in the name makes it · esc close"))
            yield Static(Content(_("towards these prompts, one a line (or @FILE)")), classes="section")
            yield self.positive
            yield Static(Content(_("away from these prompts")), classes="section")
            yield self.negative
            yield self.mean
            yield Static(Content(_("name")), classes="section")
            yield self.name_field
            yield self.problem

    def on_mount(self) -> None:
        self.positive.focus()

    def recipe(self) -> VectorRecipe:
        """What the fields say. Raises `UserError` for an empty set and a file that cannot be read."""
        positive, negative = (_prompts(field.text, problem) for field, problem in self._sets())
        positions: Positions = "mean" if self.mean.value else "last"
        return VectorRecipe(positive, negative, positions, self.name_field.value.strip() or positive[0][:30])

    def _sets(self) -> tuple[tuple[TextArea, str], ...]:
        return (
            (self.positive, _("the first set has no prompt; write at least one line")),
            (self.negative, _("the second set has no prompt; write at least one line")),
        )

    def on_input_submitted(self) -> None:
        try:
            self.dismiss(self.recipe())
        except UserError as error:
            self.problem.update(Content(spelled(self, error)))
            self.problem.add_class("shown")


def _prompts(text: str, problem: str) -> tuple[str, ...]:
    """The prompts of a field. Raises `UserError` with the `problem` where there are none."""
    if text.strip().startswith("@"):
        path = expanded(text.strip()[1:])
        try:
            text = read_file(path).decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(_("{path} is not UTF-8 text; convert it to UTF-8 first"), path=path) from error
        except OSError as error:
            raise UserError(
                _("{path} cannot be read: {reason}; name a text file of prompts"), path=path, reason=error.strerror
            ) from error
    if not (prompts := prompts_of(text)):
        raise UserError(problem)
    return tuple(prompts)
