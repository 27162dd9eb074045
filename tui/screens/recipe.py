"""Owns the dialog in which a training is decided; core checks at each key what could be trained."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input, Label, Static

from core.engine import activation
from core.errors import UserError
from core.loading import ladder, tokenizers
from core.loading.checkpoints import folders
from core.loading.checkpoints.recipe import VOCABULARIES, Recipe
from core.loading.choice import Hyperparameters
from core.training import source
from tui.drawing.text import compact, one_line


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that can be decided."""

    name: str
    title: str
    words: str
    allowed: str = r"[0-9]*"
    """What may be typed; empty for a choice among `values`."""
    values: Sequence[str] = ()


NUMBER, REAL, TEXT = r"[0-9]*", r"[-+.0-9eE]*", r".*"
SECTIONS: dict[str, tuple[Field, ...]] = {
    "what learns, from what": (
        Field("rung", "rung", "", values=ladder.NAMES),
        Field("text", "text", "or a text file", TEXT),
        Field("steps", "steps", "each of one batch", NUMBER),
        Field("probe", "probe", "watched while it learns", TEXT),
    ),
    "sizes": (
        Field("embed_dim", "d", "width of the residual stream", NUMBER),
        Field("context", "T", "tokens it sees", NUMBER),
        Field("blocks", "N", "stacked blocks", NUMBER),
        Field("heads", "h", "attention heads in a block", NUMBER),
        Field("activation", "activation", "", values=activation.CHOICES),
    ),
    "how it learns": (
        Field("lr", "learning rate", "the highest; then a cosine to 0", REAL),
        Field("warmup", "warm-up", "steps in which it rises", NUMBER),
        Field("batch", "batch", "sequences in a step", NUMBER),
        Field("decay", "weight decay", "of matrices", REAL),
        Field("clip", "clip", "the longest gradient", REAL),
        Field("every", "measure every", "steps, with a checkpoint", NUMBER),
        Field("seed", "seed", "first weights, order of text", NUMBER),
        Field("vocabulary", "vocabulary", "of a text file", values=VOCABULARIES),
        Field("stride", "stride", "tokens between sequences of a file", NUMBER),
    ),
}
FIELDS = {field.name: field for fields in SECTIONS.values() for field in fields}
SIZES = tuple(field.name for field in SECTIONS["sizes"])
OF_BLOCKS = ("blocks", "heads")
OF_A_FILE = ("vocabulary", "stride")


class Turner(Widget, can_focus=True):
    """One of a few values; `← →` turn it."""

    BINDINGS = [
        Binding("left,h", "turn(-1)", show=False),
        Binding("right,l,space", "turn(1)", show=False),
        Binding("enter", "screen.start", show=False),
    ]

    class Turned(Message):
        """It has another value."""

    def __init__(self, values: Sequence[str], value: str) -> None:
        super().__init__(classes="turner")
        self.values, self.value = values, value if value in values else values[0]

    def action_turn(self, by: int) -> None:
        self.value = self.values[(self.values.index(self.value) + by) % len(self.values)]
        self.refresh()
        self.post_message(self.Turned())

    def render(self) -> Content:
        return Content(f"‹ {self.value} ›")


class Fields(VerticalScroll, can_focus=False, inherit_bindings=False):
    """The fields; keys go to them, and the one that has them is scrolled to."""


class RecipeScreen(ModalScreen[Recipe | None]):
    """A field each; `enter` begins, `escape` leaves everything as it was."""

    BINDINGS = [
        Binding("escape", "dismiss(None)", "close", show=False),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self._own = _sizes(recipe.rung)
        self._sizes_of = recipe.rung
        self._words_size: dict[str, int] = {}
        self.fields = {name: self._field(field, _written(recipe, name)) for name, field in FIELDS.items()}
        self.names = {name: Label(Content(field.title), classes="name") for name, field in FIELDS.items()}
        self.notes = {name: Label(Content(field.words), classes="words") for name, field in FIELDS.items()}
        self.verdict = Static(id="verdict")

    def _field(self, field: Field, value: str) -> Input | Turner:
        if field.values:
            return Turner(field.values, value)
        entry = Input(
            value,
            placeholder="the tiny world" if field.name == "text" else "",
            restrict=field.allowed,
            max_length=4000 if field.allowed == TEXT else 12,
            select_on_focus=True,
            classes="long" if field.allowed == TEXT else "",
        )
        entry.cursor_blink = False
        return entry

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="recipe") as dialog:
            dialog.border_title = Content("a new training")
            dialog.border_subtitle = Content("↑↓ field · ←→ value · ⏎ begin · esc close")
            with Fields(id="fields"):
                for title, fields in SECTIONS.items():
                    yield Static(Content(title), classes="section")
                    for field in fields:
                        with Horizontal(classes="field"):
                            yield self.names[field.name]
                            yield self.fields[field.name]
                            yield self.notes[field.name]
            yield self.verdict

    def on_mount(self) -> None:
        self.fields["rung"].focus()
        self._suit()
        self.run_worker(self._count_words, thread=True)

    def _count_words(self) -> None:
        """Vocabularies take a moment to be read."""
        for name in ("world", "bytes", "cl100k"):
            self._words_size[name] = tokenizers.load_tokenizer(name).vocab_size
            self.app.call_from_thread(self._check)

    # What the fields say ---------------------------------------------------------------------------------------------

    def _values(self) -> dict[str, str]:
        return {name: field.value.strip() if name != "probe" else field.value for name, field in self.fields.items()}

    def chosen(self) -> Recipe:
        """What the fields say; an empty one is as it would be by itself. Raises `UserError` for what cannot be."""
        recipe = _recipe(self._values())
        if recipe.text:
            source.size(source.path(recipe.text))
        return recipe

    def _wrong(self) -> str | None:
        """The field that alone makes it wrong, where one does."""
        values = self._values()
        rung = values["rung"]
        for name in FIELDS:
            try:
                alone = _recipe({"rung": rung, name: values[name]})
                if alone.text:
                    source.size(source.path(alone.text))
            except UserError:
                return name
        return None

    def _check(self) -> Recipe | None:
        """Say what would be trained, or why nothing."""
        for name in self.names.values():
            name.remove_class("wrong")
        try:
            recipe = self.chosen()
            self.verdict.update(self._promise(recipe))
        except UserError as mistake:
            if wrong := self._wrong():
                self.names[wrong].add_class("wrong")
            self.verdict.update(Content.styled(one_line(str(mistake)), "$warning"))
            return None
        return recipe

    def _promise(self, recipe: Recipe) -> Content:
        words = "world" if not recipe.text else "bytes" if recipe.vocabulary == "bytes" else "cl100k"
        size, kept = self._words_size.get(words), f"kept as {one_line(folders.free(recipe).name)}"
        config = recipe.config(size or 1)
        if recipe.text and recipe.vocabulary == "cut":
            each = recipe.config(2).parameter_count() - recipe.config(1).parameter_count()
            others = recipe.config(1).parameter_count() - each
            count, kept = f"{compact(others)} + {each} V", f"V: the tokens that the text uses · {kept}"
        else:
            count = compact(config.parameter_count()) if size else "…"
        seen = recipe.steps * recipe.batch * config.context
        return Content.assemble(
            (f"{count} parameters · reads {compact(seen)} tokens", "$foreground"), (f"\n{kept}", "$secondary")
        )

    # Acts ------------------------------------------------------------------------------------------------------------

    def _suit(self) -> None:
        """Offer what the rung and the text have, and say what would be trained."""
        rung = self.fields["rung"].value
        own, before = _sizes(rung), _sizes(self._sizes_of)
        for name in SIZES:
            field = self.fields[name]
            if rung != self._sizes_of and field.value in ("", str(before[name])):
                field.value = str(own[name]) if name not in OF_BLOCKS or own["blocks"] else ""
        self._sizes_of = rung
        self.notes["rung"].update(Content(ladder.rung(rung, 1).title))
        lr = self.fields["lr"]
        assert isinstance(lr, Input)
        lr.placeholder = f"{Recipe(rung=rung).peak:g}"
        for name in OF_BLOCKS:
            self._dim(name, not own["blocks"])
        for name in OF_A_FILE:
            self._dim(name, not self.fields["text"].value.strip())
        self._check()

    def _dim(self, name: str, absent: bool) -> None:
        self.fields[name].disabled = absent
        for widget in (self.names[name], self.fields[name], self.notes[name]):
            widget.set_class(absent, "absent")

    def action_start(self) -> None:
        recipe = self._check()
        if recipe is not None:
            self.dismiss(recipe)

    def on_input_submitted(self) -> None:
        self.action_start()

    def on_input_changed(self) -> None:
        self._suit()

    def on_turner_turned(self) -> None:
        self._suit()


def _sizes(rung: str) -> dict[str, Any]:
    own = ladder.rung(rung, 1).config
    sizes = {name: getattr(own, name) for name in SIZES}
    return sizes | {"context": Recipe().changes.context}


def _written(recipe: Recipe, name: str) -> str:
    """A recipe's value as its field shows it."""
    if name in SIZES:
        changed = getattr(recipe.changes, name)
        own = _sizes(recipe.rung)
        return "" if name in OF_BLOCKS and not own["blocks"] else str(own[name] if changed is None else changed)
    value = getattr(recipe, name)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _recipe(values: dict[str, str]) -> Recipe:
    """The recipe of what was written. Raises `UserError`."""
    rung, plain = values["rung"], Recipe()
    own = ladder.rung(rung, 1).config
    changes: dict[str, Any] = {"context": plain.changes.context}
    for name in SIZES:
        if (text := values.get(name, "")) and (own.blocks or name not in OF_BLOCKS):
            value = text if name == "activation" else _number(FIELDS[name], int, text)
            changes[name] = None if value == getattr(own, name) else value
    given: dict[str, Any] = {}
    for name, field in FIELDS.items():
        if name in values and name not in SIZES and (values[name] or name in ("text", "probe")):
            kind = float if field.allowed == REAL else int if field.allowed == NUMBER else str
            given[name] = _number(field, kind, values[name]) if not field.values else values[name]
    return replace(plain, **given, changes=Hyperparameters(**changes))


def _number(field: Field, kind: Callable[[str], Any], text: str) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        raise UserError(f"the {field.title} must be a number, not {text}") from error
