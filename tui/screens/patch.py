"""The experiments: patches that act in the running model, and sweeps that measure every possible patch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from core.activations.patch import Patch
from core.engine.config import ModelConfig
from core.language import _
from tui.dialogs.modal import Modal
from tui.drawing.bars import meter
from tui.drawing.cursor_list import CursorList
from tui.drawing.parts import part_name
from tui.drawing.patches import kind_name, patch_name
from tui.drawing.text import fit, label, one_line, percent, within
from tui.notices import spelled
from tui.runner import Frame, Question, Refusal
from tui.screens.patch_form import PatchForm

if TYPE_CHECKING:
    from core.activations.experiment import Shift
    from core.activations.sweep import Effect, Sweep
    from core.walk.session import Session

LISTED = 100
"""How many effects of a sweep are listed, the largest first."""
BAR_WIDTH = 16


@dataclass(frozen=True, slots=True)
class Standing:
    """What the dialog needs of the model: its form, and what the patches that act make of the next token."""

    config: ModelConfig
    shift: "Shift | None"


def _standing(session: "Session") -> Standing:
    return Standing(session.model.transformer.config, session.reader.shift(session.cursor))


class PatchScreen(Modal[None]):
    """The patches that act, a form to add one, and the effects that a sweep measured."""

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
        """The patches in the list on the screen."""
        self._applied: tuple[Patch, ...] | None = None
        """Patches that were requested and that no frame has shown yet."""
        self._sweep: Sweep | None = None
        self._sweep_name = ""
        """What is swept, for example `zero every head`; empty before the first sweep."""
        self._status = ""
        self._by_kl = False
        """Whether effects are ordered by KL instead of the difference of logits."""
        self._piece_of: Callable[[int], bytes] | None = None
        """The bytes of a token id."""
        self.form = PatchForm()
        self.acting = CursorList(id="acting")
        self.shift = Static(id="shift")
        """What the patches make of the next token; empty while that is not known."""
        self.effects = CursorList(id="effects")
        self.sweep_status = Static()

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide", id="experiments") as dialog:
            dialog.border_title = Content(_("experiments"))
            dialog.border_subtitle = Content(_("←→↑↓ set · ⏎ add · s sweep · del remove · tab next · esc close"))
            yield self.form
            yield Static(Content(_("patches that act")), classes="section")
            yield self.acting
            yield self.shift
            yield self.sweep_status
            yield self.effects

    def on_mount(self) -> None:
        self._ask_question(Question(_standing))
        self.form.focus()
        self._list_patches()
        self._show_status()

    def question(self) -> Question | None:
        """The question for the runner while this screen is open."""
        return self._asked

    def _ask_question(self, question: Question | None) -> None:
        self._asked = question
        self._ask()

    # Frames ----------------------------------------------------------------------------------------------------------

    def show(self, frame: Frame) -> None:
        """Take over the patches of a frame, and the answer or progress of a sweep."""
        if frame.tokenizer:
            self._piece_of = frame.tokenizer.piece
        if frame.snapshot and frame.snapshot.patches == self._applied:
            self._applied = None
        if frame.snapshot and self._applied is None and frame.snapshot.patches != self._listed:
            self._patches = frame.snapshot.patches
            self._list_patches()
        if frame.question is not self._asked or self._asked is None:
            return
        if isinstance(frame.answer, Standing) and frame.snapshot:
            window = frame.snapshot.tokens[frame.snapshot.window : frame.snapshot.cursor]
            self.form.set_model(frame.answer.config, tuple(token.piece for token in window))
            self._show_shift(frame.answer.shift if frame.snapshot.patches == self._patches else None)
        elif isinstance(frame.answer, Refusal):
            self._status = spelled(self, frame.answer.problem)
        elif frame.answer is not None and frame.answer is not self._sweep and self._sweep_name:
            self._sweep = frame.answer  # type: ignore[assignment]  # the question has this answer
            self._list_effects()
        progress = frame.progress
        if progress and self._sweep_name:
            bar = meter(progress.done / max(1, progress.total), 12)
            self._status = f"{bar} {progress.done:,}/{progress.total:,}"
        elif self._sweep and len(self._sweep.effects) == self._sweep.total:
            self._status = ""
        elif self._sweep_name and self._status != "…":
            self._status = _("stopped")
        self._show_status()

    def _list_patches(self) -> None:
        self._listed = self._patches
        at = self.acting.highlighted
        rows = [Option(Content(one_line(patch_name(patch)))) for patch in self._patches]
        empty = Option(Content.styled(_("no patch: the model is unchanged"), "$text-muted"), disabled=True)
        self.acting.fill(rows or [empty], min(at or 0, len(rows) - 1) if rows else None)

    def _show_shift(self, shift: "Shift | None") -> None:
        """How far the patches move the distribution, and the likeliest token before and after."""
        self.shift.display = bool(self._patches)
        self.shift.update("")
        if shift is not None and self._piece_of:
            before, after = (within(label(self._piece_of(id)), 14) for id in (shift.before, shift.after))
            moved = Content.styled(_("KL(unpatched‖patched) {bits:.4f} bits").format(bits=shift.kl_bits), "$foreground")
            likeliest = Content.assemble(
                (_("likeliest: "), "$secondary"),
                (f"{before} {percent(shift.before_probability, 2)}", "$foreground"),
                (" → ", "$secondary"),
                (f"{after} {percent(shift.after_probability, 2)}", "$accent"),
            )
            fits = moved.cell_length + 3 + likeliest.cell_length <= self.form.size.width
            self.shift.update(Content.styled(" · " if fits else "\n", "$secondary").join([moved, likeliest]))

    def _ranked(self) -> list["Effect"]:
        """The largest effects of the sweep."""
        if self._sweep is None:
            return []
        key: Callable[[Effect], float] = (lambda e: e.kl_bits) if self._by_kl else (lambda e: abs(e.difference))
        return sorted(self._sweep.effects, key=key, reverse=True)[:LISTED]

    def _list_effects(self) -> None:
        ranked, at = self._ranked(), self.effects.highlighted
        values = [each.kl_bits if self._by_kl else abs(each.difference) for each in ranked]
        largest = max(values, default=0.0) or 1.0
        rows = [
            Option(
                Content.assemble(
                    (f"{number:>3}  ", "$text-muted"),
                    (fit(patch_name(each.patch), 22), "$foreground"),
                    (meter(value / largest, BAR_WIDTH), "$accent"),
                    (f"{each.difference:>+10.4f}", "$foreground" if not self._by_kl else "$secondary"),
                    (f"{each.kl_bits:>11.6f}", "$foreground" if self._by_kl else "$secondary"),
                )
            )
            for number, (each, value) in enumerate(zip(ranked, values, strict=True), start=1)
        ]
        self.effects.fill(rows, min(at or 0, len(rows) - 1) if rows else None)

    def _show_status(self) -> None:
        if not self._sweep_name:
            part = part_name(self.form.part)
            line = self._status or _("s tries each {part} alone and ranks the effects").format(part=part)
            self.sweep_status.update(Content.styled(line, "$text-muted"))
            return
        lines = [Content.assemble((self._sweep_name, "$accent bold"), (f"   {one_line(self._status)}", "$secondary"))]
        if self._sweep and self._piece_of:
            target, other = (label(self._piece_of(id)) for id in (self._sweep.target, self._sweep.other))
            listed = (
                _("{listed} of {total:,}").format(listed=LISTED, total=self._sweep.total)
                if self._sweep.total > LISTED
                else ""
            )
            meaning = _("Δ: change of logit({target}) − logit({other})").format(
                target=within(target, 14), other=within(other, 14)
            )
            orders = _("o orders by {order}").format(order="Δ" if self._by_kl else "KL")
            words = " · ".join(filter(None, (meaning, listed, self._sweep.note, orders)))
            lines.append(Content.styled(words, "$secondary"))
            names = _("patch"), _("Δ logit"), _("KL bits")
            head = f"      {fit(names[0], 22 + BAR_WIDTH)}{names[1]:>10}{names[2]:>11}"
            lines.append(Content.styled(head, "$text-muted"))
        self.sweep_status.update(Content("\n").join(lines))

    # Actions ---------------------------------------------------------------------------------------------------------

    def _add(self, patch: Patch) -> None:
        if self._sweep_name:
            self._ask_question(Question(_standing))  # the model changes now, and the sweep would start again
            self._status = ""
            self._show_status()
        if patch not in self._patches:
            same = [p for p in self._patches if (p.part, p.layer, p.index) != (patch.part, patch.layer, patch.index)]
            self._set_patches((*same, patch))

    def _set_patches(self, patches: tuple[Patch, ...]) -> None:
        self._patches = self._applied = patches
        self._show_shift(None)
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
        self._set_patches(self._patches[:at] + self._patches[at + 1 :])

    def action_sweep(self) -> None:
        if self.form.config is None:
            return
        patch = self.form.patch

        def run(session: "Session") -> Any:
            from core.activations.sweep import all_patches, sweep  # noqa: PLC0415  # needs torch, imported by now

            patches = all_patches(session.model.transformer.config, patch.part, patch.kind, factor=patch.factor)
            return session.reader.without_patches(lambda: sweep(session.current_step(), patches))

        self._sweep, self._status = None, "…"
        self._sweep_name = _("{kind} every {part}").format(kind=kind_name(patch.kind), part=part_name(patch.part))
        self.effects.clear_options()
        self._ask_question(Question(run))
        self._show_status()

    def action_order(self) -> None:
        self._by_kl = not self._by_kl
        self._list_effects()
        self._show_status()

    def action_leave(self) -> None:
        """Stop a running sweep; close the screen if none runs."""
        unfinished = not self._sweep or len(self._sweep.effects) < self._sweep.total
        if self._asked is None or self._asked.ask is _standing or not unfinished:
            self.dismiss(None)
            return
        self._ask_question(None)
        self._status = _("stopped")
        self._show_status()

    def action_down(self) -> None:
        if isinstance(self.focused, OptionList):
            self.focused.action_cursor_down()

    def action_up(self) -> None:
        if isinstance(self.focused, OptionList):
            self.focused.action_cursor_up()
