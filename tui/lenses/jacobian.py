"""The Jacobian lens: each layer's stream read in three ways, beside each other."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from rich.cells import cell_len
from rich.text import Text

from core.errors import UserError
from core.language import N_, _
from core.lenses import lens
from tui import texts
from tui.dialogs.line import LineScreen
from tui.drawing.logit_map import QUANTITIES
from tui.drawing.parts import part_name
from tui.drawing.text import fit, label, one_line, within
from tui.lenses.base import ExperimentPage, KeyWords
from tui.runner import Frame, Question

if TYPE_CHECKING:
    from core.lenses.jacobian import JacobianLens, LayerReadouts
    from core.lenses.logit import MapCell

NAME, NUMBER = 9, 9
TOKEN = 18
"""Cells of a token at most."""
TITLES = ("logit", "Jacobian", N_("affine"))
SHOWN = (
    (N_("KL bits"), QUANTITIES[2]),
    (N_("p of A"), QUANTITIES[3]),
    (N_("rank A"), QUANTITIES[4]),
    ("A − B", QUANTITIES[5]),
)
"""The number beside a token: the head of its column, and the quantity."""


class JacobianLensPage(ExperimentPage["JacobianLens"]):
    """One row for each layer: what the stream after it says by the logit lens, the Jacobian lens and an affine fit."""

    NAME = "jacobian"
    TITLE = N_("Jacobian lens")
    DESCRIPTION = N_("Each layer read as tokens by its mean effect on the output")
    ORDER = 45
    GROUP = N_("Why")
    ALSO = N_("jacobian lens tuned lens layers residual stream")
    TEXTS: ClassVar[tuple[str, ...]] = (N_("the reference text"), N_("the walk"), N_("a file"))
    KEYS = KeyWords(move=N_("layer"), choose=N_("fit"), view=N_("quantity"))

    def __init__(self) -> None:
        super().__init__()
        self.quantity = 0
        self.fitting = False
        """Whether the matrices are being fitted."""
        self.text_options: dict[str, Any] = {}
        """The text that is fitted on, as options of the lens; empty is the reference text."""
        self._fits: dict[str, Any] = {}
        """What was fitted so far; only the runner's thread reads it."""
        self._began = 0, 0, 0.0
        """Of a fit: how many parts it has, how many were done first, and when that was, in seconds."""

    def options(self) -> dict[str, Any]:
        return self.text_options

    def new_question(self) -> Question:
        options, fitting, fits = self.options(), self.fitting, self._fits
        return Question(
            lambda session: lens(self.NAME)(
                session.current_step(), session.current_question(), fit=fitting, fits=fits, **options
            )
        )

    def show(self, frame: Frame) -> None:
        before = self.answer
        super().show(frame)
        if self.answer and before is None:  # begin at the output
            self.cursor = len(self.answer.layers) - 1
            self.draw()
        if self.fitting and self.answer and self.answer.fit.sequences == self.answer.fit.total and self.answer.fit.path:
            self.fitting = False

    # Keys ------------------------------------------------------------------------------------------------------------

    def choice_count(self) -> int:
        return len(self.answer.layers) if self.answer else 0

    def choose(self, number: int | None = None) -> None:
        """`⏎` starts and stops the fit; 1 fits on the reference text, 2 on the text of the walk, 3 on a file."""
        if number is None:
            self._switch_fit()
        elif number == 1:
            self._take_text({})
        elif number == 2 and self.frame.snapshot:
            text = b"".join(token.piece for token in self.frame.snapshot.tokens).decode("utf-8", "replace")
            self._take_text({"text": text, "title": _("the walk")})
        elif number == 3:
            hint = _("The name of a text file that the lens is fitted on.")
            self.app.push_screen(LineScreen(_("fit on a text"), hint, check=texts.read_text_file), self._take_file)

    def keys(self) -> KeyWords:
        return replace(self.KEYS, choose=N_("stop")) if self.fitting else self.KEYS

    def _switch_fit(self) -> None:
        self.fitting, self._began = not self.fitting, (0, 0, 0.0)
        self.ask_again()
        self.draw()

    def _take_file(self, name: str | None) -> None:
        if name is not None:
            try:
                self._take_text({"text": texts.read_text_file(name), "title": one_line(name)})
            except UserError as error:
                self.notify(self.host.spell(error), severity="error", markup=False)

    def _take_text(self, options: dict[str, Any]) -> None:
        self.text_options, self.fitting = options, False
        self.ask_again()
        self.draw()

    def switch_view(self) -> None:
        self.quantity = (self.quantity + 1) % len(SHOWN)
        self.draw()

    # Painting --------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        other = _(SHOWN[(self.quantity + 1) % len(SHOWN)][0])
        keys = (_("⏎ stop · 1–3 text · o {other}") if self.fitting else _("⏎ fit · 1–3 text · o {other}")).format(
            other=other
        )
        self.hint(keys if self.answer else _("1–3 text"))
        super().draw()

    def lines(self, answer: "JacobianLens", width: int, height: int) -> Iterator[Text]:
        yield self.why(answer, width)
        yield self._first(answer, width)
        yield self.text((fit(self._state(answer), width).rstrip(), "faint"))
        across = (width - NAME) // len(TITLES)
        head, longest = _(SHOWN[self.quantity][0]), max(cell_len(_(title)) for title in TITLES)
        gap = " " if across - 3 - cell_len(head) >= longest else ""  # between a number and the mark of the next column
        token = max(4, min(TOKEN, across - NUMBER - 1 - len(gap)))
        room = token + NUMBER - cell_len(head) - 1
        titles = "".join(f" {fit(_(title), room)} {head}{gap}" for title in TITLES)
        yield self.text((" " + fit(_("after"), NAME - 1) + titles, "head"))
        count = len(answer.layers)
        for number in self.visible_rows(count, min(self.cursor, count - 1), max(3, height - 4)):
            row = self.row(number == self.cursor, width, *self._row(answer, number, token, gap))
            yield self.target(number, row)

    def _first(self, answer: "JacobianLens", width: int) -> Text:
        """Where each lens first shows the model's likeliest token."""
        line = self.text((within(label(answer.final.piece), TOKEN), "hot"), (_(" first likeliest:"), "muted"))
        for title, first in zip(("logit", "Jacobian", _("affine")), answer.first, strict=True):
            where = "…" if first is None else _short(answer.layers[first])
            if line.cell_len + len(title) + len(where) + 4 <= width:
                line.append_text(self.text((f"  {title} ", "muted"), (where, "text")))
        return line

    def _state(self, answer: "JacobianLens") -> str:
        """What the Jacobian is the mean over, and how far the present work is."""
        state, progress = answer.fit, self.frame.progress
        what = _("matrices") if state.matrices else _("this position only")
        over = (
            _("{sequences}/{total} sequences").format(sequences=state.sequences, total=state.total)
            if state.sequences
            else "…"
        )
        words = f"{what} · {within(one_line(state.text), 24)}: {over}"
        if progress:
            words += f" · {progress.done:,}/{progress.total:,}{self._remaining(progress.done, progress.total)}"
        return words

    def _remaining(self, done: int, total: int) -> str:
        """How long a fit still takes, from the speed so far."""
        if not self.fitting:
            return ""
        if self._began[0] != total:
            self._began = total, done, time.monotonic()
        _unused, first, began = self._began
        if done - first < 3:
            return ""
        seconds = (time.monotonic() - began) / (done - first) * (total - done)
        return _(", {minutes:.0f} min").format(minutes=seconds / 60) if seconds >= 90 else f", {seconds:.0f} s"

    def _row(self, answer: "JacobianLens", number: int, token: int, gap: str) -> Iterator[tuple[str, str]]:
        layer, here = answer.layers[number], number == self.cursor
        yield " " + fit(_short(layer), NAME - 1), "text" if here else "muted"
        for cell, first in zip((layer.logit, layer.jacobian, layer.affine), answer.locks_in, strict=True):
            yield ("▸" if number == first else " "), "bar"
            if cell is None:
                yield fit("…", token + NUMBER) + gap, "faint"
                continue
            same = cell.top[0].id == answer.final.id
            yield fit(label(cell.top[0].piece), token), "hot" if same else "text"
            yield f"{self._number(cell):>{NUMBER}}{gap}", "text" if here else "muted"

    def _number(self, cell: "MapCell") -> str:
        name, quantity = SHOWN[self.quantity]
        if name == SHOWN[2][0]:
            return f"{cell.target_rank + 1:,}"
        value = quantity.value(cell)
        return f"{100 * value:.2f}%" if name == SHOWN[1][0] else f"{value:+.2f}" if quantity.signed else f"{value:.2f}"


def _short(layer: "LayerReadouts") -> str:
    """The name of a layer in the cells after the mark of the cursor."""
    return _("embed") if layer.name == "embedding" else part_name(layer.name.removeprefix("block "))
