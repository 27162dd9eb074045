"""Owns the experiments: patches to put into the running model and take out again, and sweeps that try them all."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from core.activations.patch import PATCH_KINDS, PATCH_PARTS, Patch, PatchKind, PatchPart
from core.engine.config import ModelConfig
from tui.drawing.bars import meter
from tui.drawing.text import fit, label, one_line, within
from tui.runner import Frame, Question, Refusal

if TYPE_CHECKING:
    from core.activations.sweep import Effect, Sweep
    from core.walk.session import Session

LISTED = 100
"""Rows of a sweep that are listed, the strongest."""
FACTORS = (-2.0, -1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
BAR = 16


def parts(config: ModelConfig) -> tuple[PatchPart, ...]:
    """What can be patched in such a model."""
    if not config.blocks:
        return ("position",)
    return tuple(part for part in PATCH_PARTS if part != "mlp" or config.feed_forward)


class PatchForm(Widget, can_focus=True):
    """The patch that would be added: `← →` go along its fields, `↑ ↓` change one."""

    BINDINGS = [
        Binding("left,h", "field(-1)", show=False),
        Binding("right,l", "field(1)", show=False),
        Binding("up,k", "change(1)", show=False),
        Binding("down,j", "change(-1)", show=False),
        Binding("enter", "add", show=False),
    ]

    class Added(Message):
        """The patch of the form shall act."""

    def __init__(self) -> None:
        super().__init__(id="form")
        self.config: ModelConfig | None = None
        self.pieces: tuple[bytes, ...] = ()
        """The tokens of the window, which positions count."""
        self.kind: PatchKind = "zero"
        self.part: PatchPart = "head"
        self.place = {"block": 0, "head": 0, "position": 0}
        self.factor = 2.0
        self._field = 0

    def set_model(self, config: ModelConfig, pieces: tuple[bytes, ...]) -> None:
        """Offer what a model has."""
        self.config, self.pieces = config, pieces
        if self.part not in parts(config):
            self.part = parts(config)[0]
        limits = {"block": config.blocks, "head": config.heads, "position": len(pieces)}
        self.place = {name: max(0, min(at, limits[name] - 1)) for name, at in self.place.items()}
        self.refresh()

    @property
    def patch(self) -> Patch:
        """As the fields say."""
        layer = None if self.part == "position" else self.place["block"]
        index = self.place[self.part] if self.part in ("head", "position") else None
        return Patch(kind=self.kind, part=self.part, layer=layer, index=index, factor=self.factor)

    def fields(self) -> list[str]:
        """The names of the fields that this part and kind have."""
        places = ["position"] if self.part == "position" else ["block", *(["head"] if self.part == "head" else [])]
        return ["kind", "part", *places, *(["factor"] if self.kind == "scale" else [])]

    def action_field(self, by: int) -> None:
        self._field = max(0, min(self._field + by, len(self.fields()) - 1))
        self.refresh()

    def action_change(self, by: int) -> None:
        if self.config is None:
            return
        field = self.fields()[self._field]
        if field == "kind":
            self.kind = _turned(PATCH_KINDS, self.kind, -by)
        elif field == "part":
            self.part = _turned(parts(self.config), self.part, -by)
        elif field == "factor":
            self.factor = FACTORS[max(0, min(FACTORS.index(self.factor) + by, len(FACTORS) - 1))]
        else:
            count = {"block": self.config.blocks, "head": self.config.heads, "position": len(self.pieces)}[field]
            self.place[field] = (self.place[field] + by) % max(1, count)
        self.refresh()

    def action_add(self) -> None:
        if self.config is not None:
            self.post_message(self.Added())

    def render(self) -> Content:
        if self.config is None:
            return Content.styled("…", "$secondary dim")
        values = {"kind": self.kind, "part": self.part, "factor": f"{self.factor:g}"}
        fields = self.fields()
        names, row = [], []
        for number, field in enumerate(fields):
            value = values.get(field) or f"{self.place.get(field, 0)}"
            if field == "position":
                value += f" {fit(label(self.pieces[self.place[field]]), 10).rstrip()}"
            chosen = self.has_focus and number == min(self._field, len(fields) - 1)
            style = "bold $background on $accent" if chosen else "bold $foreground"
            width = max(len(value), len(field)) + 4
            names.append(Content.styled(f"{field:^{width}}", "$secondary"))
            row.append(Content.styled(f"{f'‹ {value} ›' if chosen else value:^{width}}", style))
        return Content("\n").join([Content("  ").join(names), Content("  ").join(row)])


def _turned(values: tuple[Any, ...], present: Any, by: int) -> Any:
    return values[(values.index(present) + by) % len(values)]


class PatchScreen(ModalScreen[None]):
    """What acts, what could, and what each alone would do."""

    BINDINGS = [
        Binding("escape", "leave", "close", show=False),
        Binding("q", "dismiss(None)", "close", show=False),
        Binding("s", "sweep", "sweep", show=False),
        Binding("o", "order", "order", show=False),
        Binding("delete,backspace", "remove", "remove", show=False),
        Binding("j", "down", show=False),
        Binding("k", "up", show=False),
    ]

    def __init__(self, apply: Callable[[tuple[Patch, ...]], None], ask: Callable[[], None]) -> None:
        super().__init__()
        self._apply, self._ask = apply, ask
        self._asked: Question | None = None
        self._patches: tuple[Patch, ...] = ()
        self._listed: tuple[Patch, ...] | None = None
        self._applied: tuple[Patch, ...] | None = None
        """What was asked for and no frame has shown yet."""
        self._sweep: Sweep | None = None
        self._swept = ""
        """What was swept, in words."""
        self._said = ""
        self._by_kl = False
        self._words: Callable[[int], bytes] | None = None
        self.form = PatchForm()
        self.acting = OptionList(id="acting")
        self.effects = OptionList(id="effects")
        self.said = Static(id="said")

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide", id="experiments") as dialog:
            dialog.border_title = Content("experiments")
            dialog.border_subtitle = Content("←→↑↓ set · ⏎ add · s sweep · del remove · tab · esc close")
            yield self.form
            yield Static(Content("acting now"), classes="section")
            yield self.acting
            yield self.said
            yield self.effects

    def on_mount(self) -> None:
        self._question(Question(lambda session: session.model.transformer.config))
        self.form.focus()
        self._list_patches()
        self._say()

    def question(self) -> Question | None:
        """What is asked while this is open."""
        return self._asked

    def _question(self, question: Question | None) -> None:
        self._asked = question
        self._ask()

    # Frames ----------------------------------------------------------------------------------------------------------

    def show(self, frame: Frame) -> None:
        """Take up what the runner says."""
        if frame.words:
            self._words = frame.words.piece
        if frame.snapshot and frame.snapshot.patches == self._applied:
            self._applied = None
        if frame.snapshot and self._applied is None and frame.snapshot.patches != self._listed:
            self._patches = frame.snapshot.patches
            self._list_patches()
        if frame.question is not self._asked or self._asked is None:
            return
        if isinstance(frame.answer, ModelConfig) and frame.snapshot:
            seen = frame.snapshot.tokens[frame.snapshot.window : frame.snapshot.cursor]
            self.form.set_model(frame.answer, tuple(token.piece for token in seen))
        elif isinstance(frame.answer, Refusal):
            self._said = frame.answer.words
        elif frame.answer is not None and frame.answer is not self._sweep and self._swept:
            self._sweep = frame.answer  # type: ignore[assignment]  # what was asked is what comes
            self._list_effects()
        done = frame.progress
        if done and self._swept:
            self._said = f"{meter(done.done / max(1, done.total), 12)} {done.done:,}/{done.total:,}"
        elif self._sweep and len(self._sweep.effects) == self._sweep.total:
            self._said = ""
        elif self._swept and self._said != "…":
            self._said = "stopped"
        self._say()

    def _list_patches(self) -> None:
        self._listed = self._patches
        at = self.acting.highlighted
        self.acting.clear_options()
        self.acting.add_options([Option(Content(patch.label)) for patch in self._patches])
        if not self._patches:
            self.acting.add_option(Option(Content.styled("nothing; the model is what it is", "$secondary dim")))
        self.acting.highlighted = min(at or 0, max(0, len(self._patches) - 1))

    def _ranked(self) -> list["Effect"]:
        if self._sweep is None:
            return []
        key: Callable[[Effect], float] = (lambda e: e.kl_bits) if self._by_kl else (lambda e: abs(e.difference))
        return sorted(self._sweep.effects, key=key, reverse=True)[:LISTED]

    def _list_effects(self) -> None:
        ranked, at = self._ranked(), self.effects.highlighted
        values = [each.kl_bits if self._by_kl else abs(each.difference) for each in ranked]
        largest = max(values, default=0.0) or 1.0
        self.effects.clear_options()
        self.effects.add_options(
            [
                Option(
                    Content.assemble(
                        (f"{number:>3}  ", "$secondary dim"),
                        (f"{each.patch.label:<22}", "$foreground"),
                        (meter(value / largest, BAR), "$accent"),
                        (f"{each.difference:>+10.4f}", "$foreground" if not self._by_kl else "$secondary"),
                        (f"{each.kl_bits:>11.6f}", "$foreground" if self._by_kl else "$secondary"),
                    )
                )
                for number, (each, value) in enumerate(zip(ranked, values, strict=True), start=1)
            ]
        )
        if ranked:
            self.effects.highlighted = min(at or 0, len(ranked) - 1)

    def _say(self) -> None:
        if not self._swept:
            part = self.form.part
            line = self._said or f"s tries every {part} alone and ranks what it does"
            self.said.update(Content.styled(line, "$secondary dim"))
            return
        lines = [Content.assemble((self._swept, "$accent bold"), (f"   {one_line(self._said)}", "$secondary"))]
        if self._sweep and self._words:
            target, other = (label(self._words(id)) for id in (self._sweep.target, self._sweep.other))
            shown = f" · {LISTED} of {self._sweep.total:,}" if self._sweep.total > LISTED else ""
            note = f" · {self._sweep.note}" if self._sweep.note else ""
            words = f"Δ: rise of {within(target, 14)} over {within(other, 14)}"
            lines.append(
                Content.styled(f"{words}{shown}{note} · o orders by {'Δ' if self._by_kl else 'KL'}", "$secondary")
            )
            head = f"     {'patch':<{22 + BAR}}{'Δ logit':>10}{'KL bits':>11}"
            lines.append(Content.styled(head, "$secondary dim"))
        self.said.update(Content("\n").join(lines))

    # Acts ------------------------------------------------------------------------------------------------------------

    def _add(self, patch: Patch) -> None:
        if self._swept:
            self._question(None)  # what was swept stays; it would begin anew
            self._said = ""
            self._say()
        if patch not in self._patches:
            same = [p for p in self._patches if (p.part, p.layer, p.index) != (patch.part, patch.layer, patch.index)]
            self._act((*same, patch))

    def _act(self, patches: tuple[Patch, ...]) -> None:
        self._patches = self._applied = patches
        self._apply(patches)
        self._list_patches()

    def on_patch_form_added(self) -> None:
        self._add(self.form.patch)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        if event.option_list is self.acting:
            self.action_remove()
        elif (ranked := self._ranked()) and event.option_index < len(ranked):
            self._add(ranked[event.option_index].patch)

    def action_remove(self) -> None:
        at = self.acting.highlighted
        if self.focused is self.effects or at is None or at >= len(self._patches):
            return
        self._act(self._patches[:at] + self._patches[at + 1 :])

    def action_sweep(self) -> None:
        if self.form.config is None:
            return
        patch = self.form.patch

        def run(session: "Session") -> Any:
            from core.activations.sweep import all_patches, sweep  # noqa: PLC0415  # torch is there by now

            config = session.model.transformer.config
            given = replace(patch, layer=None, index=None)
            alike = all_patches(config, given.part, given.kind, factor=given.factor)
            return sweep(session.current_step(), alike)

        self._sweep, self._swept, self._said = None, f"{patch.kind} every {patch.part}", "…"
        self.effects.clear_options()
        self._question(Question(run))
        self._say()

    def action_order(self) -> None:
        self._by_kl = not self._by_kl
        self._list_effects()
        self._say()

    def action_leave(self) -> None:
        """Stop a sweep that runs, else close."""
        unfinished = self._asked and self._swept and (not self._sweep or len(self._sweep.effects) < self._sweep.total)
        if not unfinished:
            self.dismiss(None)
            return
        self._question(None)
        self._said = "stopped"
        self._say()

    def action_down(self) -> None:
        if isinstance(self.focused, OptionList):
            self.focused.action_cursor_down()

    def action_up(self) -> None:
        if isinstance(self.focused, OptionList):
            self.focused.action_cursor_up()
