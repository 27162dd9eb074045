"""The form of one patch: its kind, the part of the model it changes, and where."""

from typing import Any

from rich.cells import cell_len
from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from core.activations.patch import PATCH_KINDS, PATCH_PARTS, Patch, PatchKind, PatchPart
from core.engine.config import ModelConfig
from core.language import N_, _
from tui.drawing.parts import part_name
from tui.drawing.patches import kind_name
from tui.drawing.text import fit, label

FACTORS = (-2.0, -1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
"""The factors that a patch of kind `scale` can have."""
FIELDS = (N_("kind"), N_("part"), N_("block"), N_("head"), N_("position"), N_("factor"))


def patchable_parts(config: ModelConfig) -> tuple[PatchPart, ...]:
    """The parts that can be patched in a model of this configuration."""
    if not config.blocks:
        return ("position",)
    return tuple(part for part in PATCH_PARTS if part != "mlp" or config.feed_forward)


class PatchForm(Widget, can_focus=True):
    """The patch that `enter` adds. `← →` go along its fields, `↑ ↓` change one."""

    BINDINGS = [
        Binding("left,h", "field(-1)", show=False),
        Binding("right,l", "field(1)", show=False),
        Binding("up,k", "change(1)", show=False),
        Binding("down,j", "change(-1)", show=False),
        Binding("enter", "add", show=False),
    ]

    class Added(Message):
        """The patch of the form is to be applied."""

    def __init__(self) -> None:
        super().__init__(id="form")
        self.config: ModelConfig | None = None
        self.pieces: tuple[bytes, ...] = ()
        """The tokens of the context window, by position."""
        self.kind: PatchKind = "zero"
        self.part: PatchPart = "head"
        self.indices = {"block": 0, "head": 0, "position": 0}
        """Where the patch acts, by the name of a field; each counts from 0."""
        self.factor = 2.0
        self.field = 0
        """Which of the `fields` is changed."""

    def set_model(self, config: ModelConfig, pieces: tuple[bytes, ...]) -> None:
        """Offer the parts of a model with these tokens in its window; indices stay where they still exist."""
        self.config, self.pieces = config, pieces
        if self.part not in patchable_parts(config):
            self.part = patchable_parts(config)[0]
        limits = {"block": config.blocks, "head": config.heads, "position": len(pieces)}
        self.indices = {name: max(0, min(at, limits[name] - 1)) for name, at in self.indices.items()}
        self.refresh()

    @property
    def patch(self) -> Patch:
        """The patch of the fields."""
        layer = None if self.part == "position" else self.indices["block"]
        index = self.indices[self.part] if self.part in ("head", "position") else None
        return Patch(kind=self.kind, part=self.part, layer=layer, index=index, factor=self.factor)

    def fields(self) -> list[str]:
        """The names of the fields that the present part and kind have, in order."""
        indices = ["position"] if self.part == "position" else ["block", *(["head"] if self.part == "head" else [])]
        return ["kind", "part", *indices, *(["factor"] if self.kind == "scale" else [])]

    def value(self, field: str) -> str:
        """The value of a field in words."""
        match field:
            case "kind":
                return kind_name(self.kind)
            case "part":
                return part_name(self.part)
            case "factor":
                return f"{self.factor:g}"
        return f"{self.indices[field]}"

    def action_field(self, by: int) -> None:
        self.field = max(0, min(self.field + by, len(self.fields()) - 1))
        self.refresh()

    def action_change(self, by: int) -> None:
        if self.config is None:
            return
        field = self.fields()[min(self.field, len(self.fields()) - 1)]
        if field == "kind":
            self.kind = _shifted(PATCH_KINDS, self.kind, -by)
        elif field == "part":
            self.part = _shifted(patchable_parts(self.config), self.part, -by)
        elif field == "factor":
            self.factor = FACTORS[max(0, min(FACTORS.index(self.factor) + by, len(FACTORS) - 1))]
        else:
            count = {"block": self.config.blocks, "head": self.config.heads, "position": len(self.pieces)}[field]
            self.indices[field] = (self.indices[field] + by) % max(1, count)
        self.refresh()

    def action_add(self) -> None:
        if self.config is not None:
            self.post_message(self.Added())

    def render(self) -> Content:
        if self.config is None:
            return Content.styled("…", "$text-muted")
        fields = self.fields()
        names, row = [], []
        for number, field in enumerate(fields):
            value = self.value(field)
            if field == "position":
                value += f" {fit(label(self.pieces[self.indices[field]]), 10).rstrip()}"
            chosen = self.has_focus and number == min(self.field, len(fields) - 1)
            style = "bold $background on $accent" if chosen else "bold $foreground"
            name = _(field)
            width = max(cell_len(value), cell_len(name)) + 4
            names.append(Content.styled(f"{name:^{width}}", "$secondary"))
            row.append(Content.styled(f"{f'‹ {value} ›' if chosen else value:^{width}}", style))
        return Content("\n").join([Content("  ").join(names), Content("  ").join(row)])


def _shifted(values: tuple[Any, ...], present: Any, by: int) -> Any:
    """The value `by` places after the present one, round the end."""
    return values[(values.index(present) + by) % len(values)]
