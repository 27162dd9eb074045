"""The dialog that changes the sizes of a rung. The values are checked at each key."""

from dataclasses import replace
from typing import Any, cast

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Label, Static

from core.engine.activation import CHOICES_TEXT
from core.errors import UserError
from core.language import N_, _
from core.loading import catalog, ladder
from core.loading.choice import Hyperparameters, ModelChoice
from core.tokenizers.tokenizer import Tokenizer
from tui.dialogs.modal import Modal
from tui.drawing.text import compact, one_line
from tui.notices import spelled

NUMBERS = {
    "embed_dim": ("d", N_("width of the residual stream")),
    "context": ("T", N_("tokens the model sees")),
    "blocks": ("N", N_("stacked blocks")),
    "heads": ("h", N_("attention heads per block")),
}
"""Title and hint of each field for a whole number."""
OTHERS = {
    "activation": (N_("activation"), CHOICES_TEXT),
    "weights_seed": (N_("weights seed"), N_("seed of the random weights")),
    "tokenizer": (N_("tokenizer"), N_("cl100k, bytes or world")),
}


class HyperparametersScreen(Modal[ModelChoice | None]):
    """One field per hyperparameter. `enter` rebuilds the rung, `escape` changes nothing."""

    BINDINGS = [
        Binding("escape", "dismiss(None)", "close", show=False),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    def __init__(self, choice: ModelChoice, tokenizer: Tokenizer | None) -> None:
        super().__init__()
        self._choice, self._tokenizer = choice, tokenizer
        own = ladder.rung(choice.name, 1).config
        self._own: dict[str, Any] = {name: getattr(own, name) for name in (*NUMBERS, "activation")}
        names = list(NUMBERS) if own.blocks else ["embed_dim", "context"]
        self._labels = {name: (NUMBERS | OTHERS)[name] for name in (*names, *OTHERS)}
        self.fields = {name: self._field(name) for name in self._labels}
        self.verdict = Static(id="verdict")

    def _field(self, name: str) -> Input:
        if name in ("weights_seed", "tokenizer"):
            present = getattr(self._choice, name)
        else:
            changed = getattr(self._choice.changes, name)
            present = self._own[name] if changed is None else changed
        restrict = r"[0-9]*" if name in NUMBERS or name == "weights_seed" else r"[a-z0-9_]*"
        field = Input(str(present), id=name, restrict=restrict, max_length=18, select_on_focus=True)
        field.cursor_blink = False
        return field

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="hyperparameters") as dialog:
            dialog.border_title = Content(_("hyperparameters · {name}").format(name=one_line(self._choice.name)))
            dialog.border_subtitle = Content(_("↑↓ field · ⏎ rebuild · esc close"))
            for name, (title, hint) in self._labels.items():
                with Horizontal(classes="field"):
                    yield Label(Content(_(title)), classes="name")
                    yield self.fields[name]
                    yield Label(Content(_(hint)), classes="hint")
            yield self.verdict

    def on_mount(self) -> None:
        next(iter(self.fields.values())).focus()
        self._check()

    def chosen(self) -> ModelChoice:
        """The model of the fields; an empty one means the rung's own value. Raises `UserError` for an invalid value."""
        values = {name: field.value for name, field in self.fields.items()}
        changes: dict[str, Any] = {}
        for name, own in self._own.items():
            text = values.get(name, "")
            value = int(text) if text and name in NUMBERS else text
            if text and value != own:
                changes[name] = value
        choice = replace(
            self._choice,
            changes=Hyperparameters(**changes),
            weights_seed=int(values["weights_seed"] or 0),
            tokenizer=values["tokenizer"] or ModelChoice().tokenizer,
        )
        catalog.check(choice)
        if choice.weights_seed >= 2**63:
            raise UserError(
                _("the weights seed must be between 0 and 2^63 - 1, not {weights_seed}"),
                weights_seed=choice.weights_seed,
            )
        return choice

    def _check(self) -> ModelChoice | None:
        """Show the size of the model that would be built, or what is wrong. Returns None where something is wrong."""
        try:
            choice = self.chosen()
        except UserError as error:
            self.verdict.update(Content.styled(spelled(self, error), "$warning"))
            return None
        same = self._tokenizer is not None and self._tokenizer.name == choice.tokenizer
        vocabulary = cast(Tokenizer, self._tokenizer).vocab_size if same else 0
        config = ladder.rung(choice.name, vocabulary or 1, choice.changes).config
        count = (
            _("{parameter_count} parameters").format(parameter_count=compact(config.parameter_count()))
            if vocabulary
            else _("the parameters depend on the new vocabulary")
        )
        heads = _("heads of {head_dim}").format(head_dim=config.head_dim) if config.blocks else ""
        self.verdict.update(Content.styled(" · ".join(filter(None, (count, heads))), "$secondary"))
        return choice

    def on_input_changed(self) -> None:
        self._check()

    def on_input_submitted(self) -> None:
        choice = self._check()
        if choice is not None:
            self.dismiss(choice)
