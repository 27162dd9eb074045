"""The form of a new training. The values are checked at each key."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Label, Static

from core.errors import UserError
from core.language import _
from core.loading import ladder, tokenizers
from core.loading.checkpoints import folders
from core.loading.checkpoints.recipe import Recipe
from core.loading.choice import Hyperparameters
from core.training import source
from tui.dialogs.modal import Modal
from tui.drawing.text import compact, one_line
from tui.notices import spelled
from tui.screens.recipe_fields import (
    BLOCK_FIELDS,
    FIELDS,
    FILE_FIELDS,
    NUMBER,
    REAL,
    SECTIONS,
    SIZES,
    TEXT,
    FieldList,
    RecipeField,
    ValueSelector,
)


class RecipeScreen(Modal[Recipe | None]):
    """One field per setting. `enter` answers with the recipe, `escape` with None."""

    BINDINGS = [
        Binding("escape", "dismiss(None)", "close", show=False),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self._sizes_of = recipe.rung
        self._vocab_sizes: dict[str, int] = {}
        """Vocabulary sizes by tokenizer, as far as they are loaded."""
        self.fields = {name: self._field(field, _field_text(recipe, name)) for name, field in FIELDS.items()}
        self.names = {name: Label(Content(_(field.title)), classes="name") for name, field in FIELDS.items()}
        self.hints = {name: Label(Content(_(field.hint)), classes="hint") for name, field in FIELDS.items()}
        self.verdict = Static(id="verdict")

    def _field(self, field: RecipeField, value: str) -> Input | ValueSelector:
        if field.values:
            return ValueSelector(field.values, value)
        entry = Input(
            value,
            placeholder=_("the tiny world") if field.name == "text" else "",
            restrict=field.allowed,
            max_length=4000 if field.allowed == TEXT else 12,
            select_on_focus=True,
            classes="long" if field.allowed == TEXT else "",
        )
        entry.cursor_blink = False
        return entry

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="recipe") as dialog:
            dialog.border_title = Content(_("a new training"))
            dialog.border_subtitle = Content(_("↑↓ field · ←→ value · ⏎ start · esc close"))
            with FieldList(id="fields"):
                for title, fields in SECTIONS.items():
                    yield Static(Content(_(title)), classes="section")
                    for field in fields:
                        with Horizontal(classes="field"):
                            yield self.names[field.name]
                            yield self.fields[field.name]
                            yield self.hints[field.name]
            yield self.verdict

    def on_mount(self) -> None:
        self.fields["rung"].focus()
        self._update()
        self.run_worker(self._load_vocab_sizes, thread=True)

    def _load_vocab_sizes(self) -> None:
        """Load the tokenizers on a thread of their own, since that takes a moment."""
        for name in ("world", "bytes", "cl100k"):
            self._vocab_sizes[name] = tokenizers.load_tokenizer(name).vocab_size
            self.app.call_from_thread(self._check)

    # Values of the fields --------------------------------------------------------------------------------------------

    def _values(self) -> dict[str, str]:
        return {name: field.value.strip() if name != "probe" else field.value for name, field in self.fields.items()}

    def chosen(self) -> Recipe:
        """The recipe of the fields; an empty field means the default. Raises `UserError` for an invalid value."""
        recipe = _recipe(self._values())
        if recipe.text:
            source.size(source.path(recipe.text))
        return recipe

    def _wrong(self) -> str | None:
        """The field that is invalid by itself; None where only a combination of fields is."""
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
        """Show what would be trained, or what is wrong. Returns None where something is wrong."""
        for name in self.names.values():
            name.remove_class("wrong")
        try:
            recipe = self.chosen()
            self.verdict.update(self._summary(recipe))
        except UserError as error:
            if wrong := self._wrong():
                self.names[wrong].add_class("wrong")
            self.verdict.update(Content.styled(spelled(self, error), "$warning"))
            return None
        return recipe

    def _summary(self, recipe: Recipe) -> Content:
        """Parameters, tokens that will be read, and the name of the trained model."""
        tokenizer = "world" if not recipe.text else "bytes" if recipe.vocabulary == "bytes" else "cl100k"
        size = self._vocab_sizes.get(tokenizer)
        name = _("saved as {name}").format(name=one_line(folders.unused(recipe).name))
        config = recipe.config(size or 1)
        if recipe.text and recipe.vocabulary == "cut":
            per_token = recipe.config(2).parameter_count() - recipe.config(1).parameter_count()
            others = recipe.config(1).parameter_count() - per_token
            count = f"{compact(others)} + {per_token} V"
            name = _("V: number of tokens that the text uses · {name}").format(name=name)
        else:
            count = compact(config.parameter_count()) if size else "…"
        tokens_read = recipe.steps * recipe.batch * config.context
        return Content.assemble(
            (
                _("{count} parameters · reads {tokens_read} tokens").format(
                    count=count, tokens_read=compact(tokens_read)
                ),
                "$foreground",
            ),
            (f"\n{name}", "$secondary"),
        )

    # Actions ---------------------------------------------------------------------------------------------------------

    def _update(self) -> None:
        """Follow the rung and the text: default sizes, the fields that apply, and the summary."""
        rung = self.fields["rung"].value
        own, before = _sizes(rung), _sizes(self._sizes_of)
        for name in SIZES:
            field = self.fields[name]
            if rung != self._sizes_of and field.value in ("", str(before[name])):
                field.value = str(own[name]) if name not in BLOCK_FIELDS or own["blocks"] else ""
        self._sizes_of = rung
        self.hints["rung"].update(Content(_(ladder.rung(rung, 1).title)))
        lr = self.fields["lr"]
        assert isinstance(lr, Input)
        lr.placeholder = f"{Recipe(rung=rung).peak:g}"
        for name in BLOCK_FIELDS:
            self._set_absent(name, not own["blocks"])
        for name in FILE_FIELDS:
            self._set_absent(name, not self.fields["text"].value.strip())
        self._check()

    def _set_absent(self, name: str, absent: bool) -> None:
        self.fields[name].disabled = absent
        for widget in (self.names[name], self.fields[name], self.hints[name]):
            widget.set_class(absent, "absent")

    def action_start(self) -> None:
        recipe = self._check()
        if recipe is not None:
            self.dismiss(recipe)

    def on_input_submitted(self) -> None:
        self.action_start()

    def on_input_changed(self) -> None:
        self._update()

    def on_value_selector_changed(self) -> None:
        self._update()


def _sizes(rung: str) -> dict[str, Any]:
    """The sizes a rung has by default in a training."""
    own = ladder.rung(rung, 1).config
    sizes = {name: getattr(own, name) for name in SIZES}
    return sizes | {"context": Recipe().changes.context}


def _field_text(recipe: Recipe, name: str) -> str:
    """A value of a recipe as its field shows it."""
    if name in SIZES:
        changed = getattr(recipe.changes, name)
        own = _sizes(recipe.rung)
        return "" if name in BLOCK_FIELDS and not own["blocks"] else str(own[name] if changed is None else changed)
    value = getattr(recipe, name)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _recipe(values: dict[str, str]) -> Recipe:
    """The recipe of the texts of fields. Raises `UserError` for an invalid value."""
    rung, defaults = values["rung"], Recipe()
    own = ladder.rung(rung, 1).config
    changes: dict[str, Any] = {"context": defaults.changes.context}
    for name in SIZES:
        if (text := values.get(name, "")) and (own.blocks or name not in BLOCK_FIELDS):
            value = text if name == "activation" else _number(FIELDS[name], int, text)
            changes[name] = None if value == getattr(own, name) else value
    settings: dict[str, Any] = {}
    for name, field in FIELDS.items():
        if name in values and name not in SIZES and (values[name] or name in ("text", "probe")):
            kind = float if field.allowed == REAL else int if field.allowed == NUMBER else str
            settings[name] = _number(field, kind, values[name]) if not field.values else values[name]
    return replace(defaults, **settings, changes=Hyperparameters(**changes))


def _number(field: RecipeField, kind: Callable[[str], Any], text: str) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        title = _(field.title)
        raise UserError(_("the {title} must be a number, not {text}"), title=title, text=text) from error
