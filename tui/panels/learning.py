"""The progress of a training run, and its losses beside the lowest possible ones."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.text import Text
from textual.content import Content

from core.language import N_, _
from core.training.events import Begun
from core.training.status import EvaluatedStep, State, TrainingStatus
from tui.drawing.plots import BinnedMeans, cell_of, dots, dotted, spread_rows, ticks, trace
from tui.drawing.sheet import Sheet
from tui.drawing.text import fit, number_in, one_line
from tui.runner import Activity

STATES: dict[State, str] = {
    "preparing": N_("◌ preparing"),
    "training": N_("▶ training"),
    "paused": N_("‖ paused"),
    "ended": N_("■ ended"),
}
AXIS, LEVELS = 7, 17
"""Widths in cells of a plot's axis, and of the names of its level lines."""
NARROW = 56
"""Width in cells below which a plot has no names of level lines."""
SCALES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001)
"""Losses in nats at which a logarithmic scale may begin."""


class TrainingProgress(Sheet):
    """Two lines: state, progress and time left; the numbers of the last step."""

    def __init__(self) -> None:
        super().__init__("standing")
        self._status: TrainingStatus | None = None
        self._waiting = False

    def show(self, status: TrainingStatus, activity: Activity) -> None:
        """Show the state of a training run; it waits while the model of the walk computes (`activity`)."""
        self._status = status
        self._waiting = status.state == "training" and activity != "idle"
        self.changed(status.state, status.problem, status.last, status.reading, status.evaluated_steps, self._waiting)

    def lines(self, width: int, height: int) -> Iterable[Text]:
        status = self._status
        if status is None:
            return
        last, steps = status.last, f"{status.recipe.steps:,}"
        running = last if status.state == "training" else None
        rate = f"{running.tokens_per_second:>9,.0f} tok/s" if running else " " * 15
        left = _("{time:>8} left").format(time=clock(running.seconds_left if running else 0))
        left = left if running else " " * len(left)
        count = f"{status.step:>{len(steps)},}/{steps}"
        done, total = status.step, status.recipe.steps
        if status.reading:
            count = (
                _("{done} % read")
                .format(done=100 * status.reading.done // max(1, status.reading.total))
                .rjust(len(count))
            )
            done, total = status.reading.done, status.reading.total
        room = max(4, width - 12 - len(count) - len(rate) - len(left) - 2)
        filled = min(room, room * done // max(1, total))
        state = _("! stopped") if status.problem else _("◌ waiting") if self._waiting else _(STATES[status.state])
        quiet = self._waiting or status.state in ("paused", "ended")
        yield self.text(
            (fit(state, 12), "hot" if status.problem else "muted" if quiet else "strong"),
            ("━" * filled, "bar"),
            ("─" * (room - filled), "ghost"),
            (f"  {count}", "text"),
            (rate, "muted"),
            (left, "muted"),
        )
        measured = status.evaluated_steps[-1].loss if status.evaluated_steps else None
        yield self.text(
            *_labelled(_("loss"), f"{last.loss:.3f}" if last else "–"),
            *_labelled("  " + _("validation"), f"{measured:.3f}" if measured is not None else "–"),
            *_labelled(
                "  " + _("learning rate"), (f"{last.lr:.6f}" if last.lr < 10 else f"{last.lr:.2e}") if last else "–"
            ),
            *_labelled("  " + _("gradient"), _gradient_norm(last.grad_norm) if last else "–", 7),
        )


def _labelled(name: str, value: str, width: int = 8) -> tuple[tuple[str, str], tuple[str, str]]:
    return (f"{name} ", "muted"), (f"{value:>{width}}", "text")


def _gradient_norm(norm: float) -> str:
    return f"{norm:.3f}" if norm < 1000 else number_in(norm, 7)


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    whole = int(min(max(0.0, seconds), 359_999))
    minutes = f"{whole // 60 % 60:02}:{whole % 60:02}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600}:{minutes}" if whole >= 3600 else minutes


class LossPlot(Sheet):
    """Training loss as a curve, validation losses as dots, and the lowest possible losses as horizontal lines."""

    def __init__(self) -> None:
        super().__init__("losses")
        self.border_title = Content(_("loss"))
        self._status: TrainingStatus | None = None
        self._chosen: EvaluatedStep | None = None
        self._means = BinnedMeans()
        self._logarithmic = True

    def show(self, status: TrainingStatus, chosen: EvaluatedStep | None) -> None:
        """Draw the losses, and a mark at the checkpoint that is shown."""
        self._status, self._chosen = status, chosen
        curve = self._curve(status, self._field(*self.size)[0])
        if self.changed(status.state, status.begun, curve, status.evaluated_steps, chosen, self._logarithmic):
            scale = _("logarithmic") if self._logarithmic else _("linear")
            text = Path(status.recipe.text).name or _("the tiny world")
            self.border_title = Content(
                one_line(_("{name} · {text} · loss in nats per token").format(name=status.name, text=text))
            )
            self.border_subtitle = Content(_("⠒ training · ● validation · {scale} · i heads").format(scale=scale))

    def switch_scale(self) -> None:
        """Toggle between a logarithmic scale, which separates losses near the floor, and a linear one."""
        self._logarithmic = not self._logarithmic
        if self._status:
            self.show(self._status, self._chosen)

    def _field(self, width: int, height: int) -> tuple[int, int]:
        levels = LEVELS if width >= NARROW else 0
        return max(2, width - AXIS - levels), max(1, height - 1)

    def _curve(self, status: TrainingStatus, columns: int) -> tuple[tuple[float, float], ...]:
        return self._means.of(status.losses, status.recipe.steps, columns)

    def _loss_range(self, status: TrainingStatus, begun: Begun) -> tuple[float, float]:
        """The lowest and highest loss (or log loss) of the scale; it is so wide that it seldom changes."""
        losses = [moment.loss for moment in status.evaluated_steps]
        high = 1.04 * max([begun.ln_v, *losses[:1], *(loss for _, loss in status.losses[:1])])
        if not self._logarithmic:
            return 0.0, high
        lowest = min([begun.floors.context if begun.floors else begun.ln_v, *losses])
        return math.log(next((s for s in SCALES if s < 0.98 * lowest), SCALES[-1])), math.log(high)

    def lines(self, width: int, height: int) -> Iterable[Text]:
        status = self._status
        if status is None or status.begun is None:
            yield self.text((_("preparing …") if status and status.state == "preparing" else "", "faint"))
            return
        begun, steps = status.begun, status.recipe.steps
        columns, rows = self._field(width, height)
        loss_range = self._loss_range(status, begun)
        scale = (lambda loss: math.log(max(loss, 1e-9))) if self._logarithmic else float
        grid = [[(" ", "faint")] * columns for _ in range(rows)]

        levels = _levels(begun)
        for _name, loss in levels:
            _draw_over(grid, dotted(scale(loss), columns, rows, loss_range), "faint")
        column = cell_of(self._chosen.step, 0, steps, columns) if self._chosen else None
        if column is not None:
            for row in grid:
                row[column] = ("╎", "hot")
        curve = tuple((x, scale(y)) for x, y in self._curve(status, columns))
        _draw_over(grid, trace(curve, columns, rows, (0.0, float(steps)), loss_range), "muted")
        for moment in status.evaluated_steps:
            chosen = moment is self._chosen or moment == self._chosen
            line = rows - 1 - cell_of(scale(moment.loss), *loss_range, rows)
            grid[line][cell_of(moment.step, 0, steps, columns)] = ("◆", "hot") if chosen else ("●", "bar")

        axis = self._axis(loss_range, rows)
        names = dict(
            zip(
                spread_rows([rows - 1 - cell_of(scale(y), *loss_range, rows) for _name, y in levels], rows),
                levels,
                strict=True,
            )
        )
        for number, row in enumerate(grid):
            name = f" {names[number][0]:<10}{names[number][1]:>6.2f}" if number in names else ""
            yield self.text(
                (f"{axis.get(number, ''):>{AXIS - 2}} ", "muted"),
                ("┤" if number in axis else "│", "faint"),
                *_styled_runs(row),
                (name if width >= NARROW else "", "muted"),
            )
        yield self._step_axis(columns, steps, column)

    def _axis(self, loss_range: tuple[float, float], rows: int) -> dict[int, str]:
        if self._logarithmic:
            low, high = map(math.exp, loss_range)
            steps = (1, 2, 5) if high / low < 100 else (1,)
            values = [s * d for d in (0.001, 0.01, 0.1, 1.0, 10.0) for s in steps if low <= s * d * 1.001 <= high]
            return {rows - 1 - cell_of(math.log(v) + 1e-9, *loss_range, rows): f"{v:g}" for v in values}
        return {rows - 1 - cell_of(v, *loss_range, rows): f"{v:g}" for v in ticks(*loss_range, max(2, 2 * rows // 3))}

    def _step_axis(self, columns: int, steps: int, column: int | None) -> Text:
        """The axis of steps: its ends, and the step of the checkpoint that is shown."""
        end = _("{steps:,} steps").format(steps=steps)
        line = self.text((" " * AXIS, "muted"), ("0" + end.rjust(columns - 1), "muted"))
        if self._chosen and column is not None:
            words = f" {self._chosen.step:,} "
            left = max(0, min(column - len(words) // 2, columns - len(words)))
            plain = line.plain[AXIS:]
            before, after = plain[:left], plain[left + len(words) :]
            if left + len(words) > columns - len(end):  # never a part of the number at the end
                after = " " * len(after)
                before = before[: columns - len(end)].ljust(left)
            line = self.text((" " * AXIS + before, "muted"), (words, "hot"), (after, "muted"))
        return line


def _levels(begun: Begun) -> list[tuple[str, float]]:
    """Names and losses (nats per token) of the level lines, the highest first."""
    levels, floors = [("ln V", begun.ln_v)], begun.floors
    if floors:
        levels += [(_("unigram"), floors.unigram), (_("last token"), floors.last_token), (_("context"), floors.context)]
    return levels


def _draw_over(grid: list[list[tuple[str, str]]], drawn: Sequence[str], style: str) -> None:
    """Draw braille over a grid of (character, style); lines of one style share a cell."""
    for row, line in zip(grid, drawn, strict=True):
        for column, cell in enumerate(line):
            if cell != " " and dots(cell):
                below, its_style = row[column]
                merged = chr(0x2800 | dots(cell) | dots(below)) if its_style == style else cell
                row[column] = (merged, "hot" if its_style == "hot" else style)


def _styled_runs(row: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Neighboring cells of one style joined into one piece."""
    runs: list[tuple[str, str]] = []
    for cell, style in row:
        if runs and runs[-1][1] == style:
            runs[-1] = runs[-1][0] + cell, style
        else:
            runs.append((cell, style))
    return runs
