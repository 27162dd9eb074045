"""Steering: vectors that are added to the residual stream, each with a layer, a strength and a switch."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static
from textual.widgets.option_list import Option

from core.activations.patch import Patch
from core.activations.steering_vector import SteeringVector
from core.bounded import expanded
from core.causal import vector_files
from core.engine.config import ModelConfig
from core.errors import UserError
from core.language import N_, _
from tui.dialogs.choose import ChooseScreen, Entry
from tui.dialogs.line import LineScreen
from tui.dialogs.modal import Modal
from tui.drawing.bars import meter
from tui.drawing.cursor_list import CursorList
from tui.drawing.text import fit, label, one_line, percent
from tui.notices import spelled
from tui.runner import Frame, Question, Refusal
from tui.screens.steering_form import SteeringForm, VectorRecipe
from tui.screens.steering_list import STRENGTHS, Steering, acting, adopted

if TYPE_CHECKING:
    from core.walk.session import Session

KNOB = 17
"""Cells of the knob of a strength."""
NAME = 18
CANDIDATES, FIGURE = 6, 8
"""Tokens under the list; cells of a percentage."""
ANOTHER = N_("another file …")


def vectors_folder() -> Path:
    """Where vectors are saved under their names."""
    return platformdirs.user_data_path("tokenwalk") / "vectors"


def slug(name: str) -> str:
    """A name as a file name."""
    kept = "".join(character if character.isalnum() else "-" for character in name).strip("-").lower()
    return kept[:60] or "vector"


def ghost(share: float, width: int) -> str:
    """A bar of what is without steering, as the chart of the next token draws it."""
    return ("░" * round(share * width)).ljust(width)


class SteeringScreen(Modal[None]):
    """The vectors, and the next token with and without them."""

    BINDINGS = [
        Binding("escape,q,V", "leave", "close", show=False),
        Binding("n", "new", "make", show=False),
        Binding("o", "open", "load", show=False),
        Binding("w", "save", "save", show=False),
        Binding("r", "rename", "rename", show=False),
        Binding("left,h", "strength(-1)", show=False),
        Binding("right,l", "strength(1)", show=False),
        Binding("shift+left,H,left_square_bracket", "layer(-1)", show=False),
        Binding("shift+right,L,right_square_bracket", "layer(1)", show=False),
        Binding("enter,space", "switch", show=False, priority=True),
        Binding("delete,backspace", "remove", "remove", show=False),
        Binding("j", "down", show=False),
        Binding("k", "up", show=False),
    ]

    def __init__(
        self,
        entries: tuple[Steering, ...],
        apply: Callable[[tuple[Steering, ...]], None],
        ask: Callable[[], None],
    ) -> None:
        super().__init__()
        self.entries = entries
        self._apply, self._ask = apply, ask
        self._asked: Question | None = None
        self._waiting: tuple[Patch, ...] | None = None
        """Patches that were requested and that no frame has shown yet."""
        self._config: ModelConfig | None = None
        self._status = ""
        self._recipe: VectorRecipe | None = None
        """What the vector that is made is made of."""
        self.list = CursorList(id="vectors")
        self.about = Static(id="about-vector")
        self.next = Static(id="steered")

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide", id="steering") as dialog:
            dialog.border_title = Content(_("steering"))
            yield self.list
            yield self.about
            yield self.next

    def on_mount(self) -> None:
        self._ask_question(Question(lambda session: session.model.transformer.config))
        self._draw()
        self.list.focus()

    def question(self) -> Question | None:
        """The question for the runner while this screen is open."""
        return self._asked

    def _ask_question(self, question: Question | None) -> None:
        self._asked = question
        self._ask()

    # Frames ----------------------------------------------------------------------------------------------------------

    def show(self, frame: Frame) -> None:
        """Take over what acts in the model, the progress of a vector, and the chart."""
        if frame.snapshot:
            now = tuple(patch for patch in frame.snapshot.patches if patch.vector)
            if now == self._waiting:
                self._waiting = None
            if self._waiting is None and now != acting(self.entries):
                self.entries = adopted(self.entries, now)
        if self._asked is not None and frame.question is self._asked:
            self._take(frame)
        self._draw(frame)

    def _take(self, frame: Frame) -> None:
        answer = frame.answer
        if isinstance(answer, ModelConfig):
            self._config = answer
        elif isinstance(answer, Refusal):
            self._status, self._asked = spelled(self, answer.problem), None
        elif isinstance(answer, SteeringVector):
            self._status = ""
            self._ask_question(None)  # or it would be made again when the walk is read under it
            blocks = self._config.blocks if self._config else len(answer.layers)
            self._set((*self.entries, Steering(answer, min(blocks // 2, answer.layers[-1]))), len(self.entries))
        elif frame.progress and self._recipe:
            done = meter(frame.progress.done / max(1, frame.progress.total), 12)
            self._status = _("reading the prompts {bar} {done}/{total}").format(
                bar=done, done=frame.progress.done, total=frame.progress.total
            )

    def _draw(self, frame: Frame | None = None) -> None:
        at = self.list.highlighted or 0
        rows = [Option(self._row(entry)) for entry in self.entries]
        words = _("no steering vector yet: n makes one from prompts, o loads one")
        empty = Option(Content.styled(words, "$text-muted"), disabled=True)
        self.list.fill(rows or [empty], min(at, len(rows) - 1) if rows else None)
        entry = self._present()
        about = self._status or (one_line(entry.vector.origin) if entry else "")
        self.about.update(Content.styled(fit(about, 200).rstrip(), "$warning" if self._status else "$secondary"))
        if frame:
            self.next.update(self._chart(frame))
        keys = _("←→ strength · ⇧←→ layer · ⏎ on, off · n make · o load · w save")
        if self.app.size.width >= 110:
            keys = _("←→ strength · ⇧←→ layer · ⏎ on, off · n make · o load · w save · r name · del remove")
        self.query_one("#steering").border_subtitle = Content(keys if entry else _("n make · o load · esc close"))

    def _row(self, entry: Steering) -> Content:
        norm = entry.vector.norm(entry.vector.layers[0] if entry.layer is None else self._layer_of(entry))
        return Content.assemble(
            ("● " if entry.on else "○ ", "$accent" if entry.on else "$secondary"),
            (fit(one_line(entry.vector.name), NAME), "$foreground" if entry.on else "$secondary"),
            (f" {entry.place:<10}", "$foreground"),
            (self._knob(entry.strength), "$accent" if entry.on else "$secondary"),
            (f" {entry.strength:>+6g}", "$foreground"),
            (f"  ‖v‖ {norm:.3g}", "$text-muted"),
        )

    @staticmethod
    def _layer_of(entry: Steering) -> int:
        """The layer of the direction that acts."""
        assert entry.layer is not None
        return entry.layer if len(entry.vector.layers) > 1 else entry.vector.layers[0]

    @staticmethod
    def _knob(strength: float) -> str:
        below = sum(each < strength for each in STRENGTHS)
        at = round(below * (KNOB - 1) / (len(STRENGTHS) - 1))
        middle = KNOB // 2
        line = ["─"] * KNOB
        line[middle] = "┼"
        line[at] = "●"
        return "".join(line)

    def _chart(self, frame: Frame) -> Content:
        """The likeliest next tokens, steered and not."""
        chart = frame.snapshot.chart if frame.snapshot else None
        if chart is None:
            return Content("")
        room = min(108, int(0.94 * self.app.size.width) - 6)
        name, bar = (14, 15) if room < 90 else (22, 28)
        changed = any(candidate.unpatched is not None for candidate in chart.candidates)
        column = bar + FIGURE
        steered, without = (_("steered"), _("without")) if changed else ("p", "")
        head = fit(_("next token"), name) + steered.rjust(column) + without.rjust(column + 2)
        lines = [Content.styled(head.rstrip(), "$text-muted")]
        for candidate in chart.candidates[:CANDIDATES]:
            parts = [
                (fit(label(candidate.piece), name), "$foreground"),
                (meter(candidate.probability, bar), "$accent"),
                (f"{percent(candidate.probability, 2):>{FIGURE}}", "$foreground"),
            ]
            if candidate.unpatched is not None:
                parts += [
                    (f"  {ghost(candidate.unpatched, bar)}", "$secondary"),
                    (f"{percent(candidate.unpatched, 2):>{FIGURE}}", "$secondary"),
                ]
            lines.append(Content.assemble(*parts))
        return Content("\n").join(lines)

    # Actions ---------------------------------------------------------------------------------------------------------

    def _present(self) -> Steering | None:
        """The entry under the cursor."""
        at = self.list.highlighted
        return self.entries[at] if at is not None and at < len(self.entries) else None

    def _set(self, entries: tuple[Steering, ...], at: int | None = None) -> None:
        self._waiting = acting(entries) if acting(entries) != acting(self.entries) else self._waiting
        self.entries = entries
        self._apply(entries)
        self._draw()
        if at is not None:
            self.list.highlighted = at

    def _change(self, change: Callable[[Steering], Steering]) -> None:
        at, entry = self.list.highlighted, self._present()
        if entry is None or at is None:
            return
        self._status = ""
        self._set((*self.entries[:at], change(entry), *self.entries[at + 1 :]))

    def on_option_list_option_highlighted(self) -> None:
        if (entry := self._present()) and not self._status:
            self.about.update(Content.styled(one_line(entry.vector.origin), "$secondary"))

    def action_strength(self, by: int) -> None:
        self._change(lambda entry: entry.stronger(by))

    def action_layer(self, by: int) -> None:
        if config := self._config:
            self._change(lambda entry: entry.moved(by, config.blocks))

    def action_switch(self) -> None:
        self._change(lambda entry: replace(entry, on=not entry.on))

    def action_remove(self) -> None:
        at = self.list.highlighted
        if self._present() and at is not None:
            self._set(self.entries[:at] + self.entries[at + 1 :])

    def action_leave(self) -> None:
        """Stop a vector that is made; close the screen where none is."""
        if self._recipe and self._asked is not None:
            self._status, self._recipe = _("stopped"), None
            self._ask_question(None)
            self._draw()
        else:
            self.dismiss(None)

    def action_down(self) -> None:
        self.list.action_cursor_down()

    def action_up(self) -> None:
        self.list.action_cursor_up()

    # Vectors ---------------------------------------------------------------------------------------------------------

    def action_new(self) -> None:
        self.app.push_screen(SteeringForm(self._recipe or VectorRecipe()), self._make)

    def _make(self, recipe: VectorRecipe | None) -> None:
        if recipe is None:
            return

        def run(session: "Session") -> Any:
            from core.causal.steering import steering_vector  # noqa: PLC0415  # needs torch, imported by now

            model, unpatched = session.model, session.reader.unpatched
            sets = recipe.positive, recipe.negative
            return steering_vector(model, *sets, recipe.name, positions=recipe.positions, unpatched=unpatched)

        self._recipe, self._status = recipe, _("reading the prompts …")
        self._ask_question(Question(run))
        self._draw()

    def action_open(self) -> None:
        folder = vectors_folder()
        files = sorted(path for path in folder.glob("*") if path.suffix in vector_files.SUFFIXES)
        if not files:
            self._ask_path(ANOTHER)
            return
        entries = [self._saved(path) for path in files]
        entries.append(Entry(ANOTHER, _(ANOTHER), _("A vector of tokenwalk, or a control vector of llama.cpp")))
        self.app.push_screen(ChooseScreen(_("load a vector"), entries, ""), self._ask_path)

    @staticmethod
    def _saved(path: Path) -> Entry:
        try:
            vector = vector_files.read_vector(path)
        except UserError as error:
            return Entry(str(path), path.name, str(error), enabled=False)
        return Entry(str(path), vector.name, vector.origin or path.name)

    def _ask_path(self, chosen: str | None) -> None:
        if chosen == ANOTHER:
            hint = _("The path of a steering vector: .safetensors, or a control vector of llama.cpp (.gguf).")
            self.app.push_screen(LineScreen(_("load a vector"), hint, check=self._read), self._load)
        else:
            self._load(chosen)

    def _read(self, path: str) -> SteeringVector:
        """The vector in a file. Raises `UserError` where there is none or the model cannot be steered by it."""
        vector = vector_files.read_vector(expanded(path))
        if self._config:
            vector.check(self._config)
        return vector

    def _load(self, path: str | None) -> None:
        if path is None:
            return
        try:
            vector = self._read(path)
        except UserError as error:
            self._status = spelled(self, error)
            self._draw()
        else:
            self._set((*self.entries, Steering(vector)), len(self.entries))

    def action_save(self) -> None:
        if entry := self._present():
            path = vectors_folder() / f"{slug(entry.vector.name)}.safetensors"
            hint = _("The path of the file: .safetensors, or .gguf for llama.cpp.")
            self.app.push_screen(LineScreen(_("save the vector"), hint, str(path), check=self._write), self._saved_as)

    def _write(self, path: str) -> None:
        entry = self._present()
        assert entry is not None
        target = expanded(path)
        if target.parent == vectors_folder():
            target.parent.mkdir(parents=True, exist_ok=True)
        vector_files.write_vector(target, entry.vector)

    def _saved_as(self, path: str | None) -> None:
        if path is not None:
            self._status = _("saved: {path}").format(path=path)
            self._draw()

    def action_rename(self) -> None:
        if entry := self._present():
            self.app.push_screen(LineScreen(_("name the vector"), _("Its name."), entry.vector.name), self._rename)

    def _rename(self, name: str | None) -> None:
        if name and name.strip():
            self._change(lambda entry: replace(entry, vector=replace(entry.vector, name=one_line(name.strip())[:80])))
