"""Input attributions: a signed bar for each token of the prompt, which also tints the token ids."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.text import Text

from core.language import N_, _
from tui.drawing.attributions import BASELINES, advice, complete, start, sure, total
from tui.drawing.bars import signed_bar
from tui.drawing.text import fit, label
from tui.drawing.wrap import folded
from tui.lenses.base import ExperimentPage, KeyWords
from tui.runner import Frame

if TYPE_CHECKING:
    from core.lenses.gradients import InputAttributions, TokenAttribution

STEPS = (None, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Points of the path that can be chosen; None is as many as it takes."""
POSITION, TOKEN, NUMBER, WIDEST = 4, 14, 10, 40


class GradientsLens(ExperimentPage["InputAttributions"]):
    """One row for each token; the other of the two methods stands beside it as a number."""

    NAME = "gradients"
    TITLE = N_("input attributions")
    DESCRIPTION = N_("Which input tokens speak for a token and against another")
    ORDER = 41
    GROUP = N_("Why")
    ALSO = N_("integrated gradients saliency input attribution")
    KEYS = KeyWords(move=N_("token"), view=N_("method"), down=N_("steps"), across=N_("baseline"))

    def __init__(self) -> None:
        super().__init__()
        self.baseline: str | None = None
        """None lets the lens choose."""
        self.steps: int | None = None
        self.integrated = True
        """Whether bars and tints are those of integrated gradients."""

    def options(self) -> dict[str, Any]:
        return {"baseline": self.baseline, "steps": self.steps}

    def show(self, frame: Frame) -> None:
        before = self.answer
        super().show(frame)
        if self.answer and (before is None or len(before.tokens) != len(self.answer.tokens)):
            self.cursor = 0
            self.draw()

    def frame_for_panels(self, frame: Frame) -> Frame:
        """The token ids are tinted by what the tokens add to the measure."""
        if frame.question is not self._question or self.answer is None or frame.snapshot is None:
            return frame
        seen = frame.snapshot.tokens[frame.snapshot.window : frame.snapshot.cursor]
        if tuple(token.piece for token in seen) != tuple(token.piece for token in self.answer.tokens):
            return frame
        values = (0.0 if self._doubtful else self._value(token) for token in self.answer.tokens)
        return replace(frame, token_values=tuple(values))

    # Keys ------------------------------------------------------------------------------------------------------------

    def choice_count(self) -> int:
        return len(self.answer.tokens) if self.answer else 0

    def switch_view(self) -> None:
        self.integrated = not self.integrated
        self.draw()
        self.host.redraw()

    def adjust(self, down: int, across: int) -> None:
        """Left and right: the baseline; up and down: more or fewer steps."""
        if across:
            names = list(BASELINES)
            present = self.baseline or (self.answer.baseline if self.answer else names[0])
            self.baseline = names[(names.index(present) + across) % len(names)]
        else:
            at = STEPS.index(self.steps) - down
            self.steps = STEPS[max(0, min(at, len(STEPS) - 1))]
        self.ask_again()
        self.draw()

    # Painting --------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        other = _("input × gradient") if self.integrated else _("integrated")
        self.hint(_("o {other} · ⇧←→ baseline · ⇧↑↓ steps").format(other=other))
        super().draw()

    def lines(self, answer: "InputAttributions", width: int, height: int) -> Iterator[Text]:
        yield self.why(answer, width)
        above = [*self._explained(answer, width), *self.folded(width, (advice(answer), "muted"))]
        yield from above
        bar = max(4, min(WIDEST, (width - POSITION - TOKEN - 2 * NUMBER - 6) // 2))
        against, towards = _("◂ against"), _("towards ▸")
        if max(map(cell_len, (against, towards))) > bar:
            against, towards = "◂", "▸"
        own, other = (_("integrated"), _("input×gr.")) if self.integrated else (_("input×gr."), _("integrated"))
        yield self.text(
            (f"{'#':>{POSITION}} {_('token'):<{TOKEN}} {against:<{bar}}┬{towards:>{bar}}", "head"),
            (f" {own:>{NUMBER}} {other:>{NUMBER}}", "head"),
        )
        scale = max((abs(self._value(token)) for token in answer.tokens), default=0.0) or 1.0
        at = min(self.cursor, len(answer.tokens) - 1)
        for number in self.visible_rows(len(answer.tokens), at, max(3, height - 2 - len(above))):
            yield self.target(number, self._row(answer.tokens[number], number == at, scale, bar, width))

    def _explained(self, answer: "InputAttributions", width: int) -> Iterator[Text]:
        """From where to where, and how complete the integral is."""
        progress = self.frame.progress if answer.error_share is None else None
        done = f"{progress.done:,}/{progress.total:,}" if progress else "…"
        yield from self.folded(width, (start(answer, done), "muted"))
        if answer.error_share is None:
            yield Text()
            return
        if not sure(answer):
            words = _("error {error:.2g} %: not complete; bars are faint, token ids plain").format(
                error=100 * answer.error_share
            )
            yield from self.folded(width, (words, "hot"), (f" · {total(answer, error=False)}", "muted"))
            return
        line = self.text(
            (f"{total(answer)}, ", "muted"),
            (_("complete") if complete(answer) else _("not complete"), "text" if complete(answer) else "hot"),
        )
        steps = _(", {steps:,} steps").format(steps=answer.steps)
        if line.cell_len + cell_len(steps) <= width:
            line.append_text(self.text((steps, "muted")))
        yield from folded(line, width)

    @property
    def _doubtful(self) -> bool:
        """Whether the numbers of the bars are too far from their sum to be relied on."""
        return self.integrated and self.answer is not None and not sure(self.answer)

    def _value(self, token: "TokenAttribution") -> float:
        """What bars and tints show: until integrated gradients are known, input × gradient."""
        return token.input_x_gradient if not self.integrated or token.integrated is None else token.integrated

    def _row(self, token: "TokenAttribution", chosen: bool, scale: float, bar: int, width: int) -> Text:
        value = self._value(token)
        left, right = signed_bar(value / scale, bar)
        if self._doubtful:
            left, right = (re.sub("[^ ]", "░", part) for part in (left, right))
        integrated = "…" if token.integrated is None else f"{token.integrated:+.3f}"
        product = f"{token.input_x_gradient:+.3f}"
        own, other = (integrated, product) if self.integrated else (product, integrated)
        return self.row(
            chosen,
            width,
            (f"{token.position:>{POSITION}} ", "faint"),
            (f"{fit(label(token.piece), TOKEN)} ", "text"),
            (left, "faint" if self._doubtful else "below"),
            ("│", "faint"),
            (right, "faint" if self._doubtful else "above"),
            (f" {own:>{NUMBER}}", "text"),
            (f" {other:>{NUMBER}}", "muted"),
        )
