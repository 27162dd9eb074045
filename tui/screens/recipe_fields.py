"""The fields of the training form: titles, hints, what may be typed, and the widget for one of a few values."""

from collections.abc import Sequence
from dataclasses import dataclass

from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from core.engine import activation
from core.language import N_
from core.loading import ladder
from core.loading.checkpoints.recipe import VOCABULARIES


@dataclass(frozen=True, slots=True)
class RecipeField:
    """One setting of a training. `name` is the setting's name in `Recipe` or `Hyperparameters`."""

    name: str
    title: str
    hint: str
    allowed: str = r"[0-9]*"
    """A pattern of what may be typed. Not used where there are `values`."""
    values: Sequence[str] = ()
    """The values to choose from; empty for a typed value."""


NUMBER, REAL, TEXT = r"[0-9]*", r"[-+.0-9eE]*", r".*"
SECTIONS: dict[str, tuple[RecipeField, ...]] = {
    N_("model and text"): (
        RecipeField("rung", N_("rung"), "", values=ladder.NAMES),
        RecipeField("text", N_("text"), N_("or the path of a file"), TEXT),
        RecipeField("steps", N_("steps"), N_("one batch each"), NUMBER),
        RecipeField("probe", N_("probe"), N_("a prompt to watch"), TEXT),
    ),
    N_("sizes"): (
        RecipeField("embed_dim", "d", N_("width of the residual stream"), NUMBER),
        RecipeField("context", "T", N_("tokens the model sees"), NUMBER),
        RecipeField("blocks", "N", N_("stacked blocks"), NUMBER),
        RecipeField("heads", "h", N_("attention heads per block"), NUMBER),
        RecipeField("activation", N_("activation"), "", values=activation.CHOICES),
    ),
    N_("optimizer"): (
        RecipeField("lr", N_("learning rate"), N_("its peak; then a cosine to 0"), REAL),
        RecipeField("warmup", N_("warm-up"), N_("steps until the peak"), NUMBER),
        RecipeField("batch", N_("batch"), N_("sequences per step"), NUMBER),
        RecipeField("decay", N_("weight decay"), N_("of the matrices"), REAL),
        RecipeField("clip", N_("clip"), N_("largest norm of the gradient"), REAL),
        RecipeField("every", N_("evaluate every"), N_("steps, with a checkpoint"), NUMBER),
        RecipeField("seed", N_("seed"), N_("initial weights, order of the text"), NUMBER),
        RecipeField("vocabulary", N_("vocabulary"), N_("of a text file"), values=VOCABULARIES),
        RecipeField("stride", N_("stride"), N_("tokens between sequences of a file"), NUMBER),
    ),
}
FIELDS = {field.name: field for fields in SECTIONS.values() for field in fields}
SIZES = tuple(field.name for field in SECTIONS["sizes"])
BLOCK_FIELDS = ("blocks", "heads")
"""Fields of rungs with blocks only."""
FILE_FIELDS = ("vocabulary", "stride")
"""Fields of trainings on a text file only."""


class ValueSelector(Widget, can_focus=True):
    """One of a few values; `← →` go to the one before or after."""

    BINDINGS = [
        Binding("left,h", "select(-1)", show=False),
        Binding("right,l,space", "select(1)", show=False),
        Binding("enter", "screen.start", show=False),
    ]

    class Changed(Message):
        """Another value was selected."""

    def __init__(self, values: Sequence[str], value: str) -> None:
        super().__init__(classes="selector")
        self.values, self.value = values, value if value in values else values[0]

    def action_select(self, by: int) -> None:
        self.value = self.values[(self.values.index(self.value) + by) % len(self.values)]
        self.refresh()
        self.post_message(self.Changed())

    def render(self) -> Content:
        return Content(f"‹ {self.value} ›")


class FieldList(VerticalScroll, can_focus=False, inherit_bindings=False):
    """The fields. It has no keys of its own and scrolls to the focused field."""
