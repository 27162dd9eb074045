"""Owns how a rung that learns is getting on, drawn: how far it is, and its losses beside the lowest there are."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.text import Text
from textual.content import Content

from core.training.events import Begun
from core.training.status import EvaluatedStep, State, TrainingStatus
from tui.drawing.plots import BinnedMeans, cell_of, dots, dotted, spread_rows, ticks, trace
from tui.drawing.sheet import Sheet
from tui.drawing.text import fit, number_in, one_line
from tui.runner import Activity

STATES: dict[State, str] = {
    "preparing": "◌ preparing",
    "training": "▶ training",
    "paused": "‖ paused",
    "ended": "■ ended",
}
AXIS, LEVELS = 7, 17
"""Cells of a plot's axis, and of the names of its level lines."""
NARROW = 56
"""Cells below which a plot has no room for those."""
SCALES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001)
"""Where a logarithmic scale may begin."""


class Standing(Sheet):
    """Two lines: what it does and how far it is; the numbers of the last step."""

    def __init__(self) -> None:
        super().__init__("standing")
        self._progress: TrainingStatus | None = None
        self._waits = False

    def show(self, progress: TrainingStatus, activity: Activity) -> None:
        """Show how a training stands, while the walk does something or nothing."""
        self._progress = progress
        self._waits = progress.state == "training" and activity != "idle"
        steps = progress.evaluated_steps
        self.changed(progress.state, progress.problem, progress.last, progress.reading, steps, self._waits)

    def lines(self, width: int, height: int) -> Iterable[Text]:
        progress = self._progress
        if progress is None:
            return
        last, steps = progress.last, f"{progress.recipe.steps:,}"
        running = last if progress.state == "training" else None
        rate = f"{running.tokens_per_second:>9,.0f} tok/s" if running else " " * 15
        left = f"{clock(running.seconds_left):>8} left" if running else " " * 13
        count = f"{progress.step:>{len(steps)},}/{steps}"
        done, total = progress.step, progress.recipe.steps
        if progress.reading:
            count = f"{100 * progress.reading.done // max(1, progress.reading.total)} % read".rjust(len(count))
            done, total = progress.reading.done, progress.reading.total
        room = max(4, width - 12 - len(count) - len(rate) - len(left) - 2)
        filled = min(room, room * done // max(1, total))
        words = "! stopped" if progress.problem else "◌ waits" if self._waits else STATES[progress.state]
        quiet = self._waits or progress.state in ("paused", "ended")
        yield self.text(
            (fit(words, 12), "hot" if progress.problem else "muted" if quiet else "strong"),
            ("━" * filled, "bar"),
            ("─" * (room - filled), "ghost"),
            (f"  {count}", "text"),
            (rate, "muted"),
            (left, "muted"),
        )
        measured = progress.evaluated_steps[-1].loss if progress.evaluated_steps else None
        yield self.text(
            *_number("loss", f"{last.loss:.3f}" if last else "–"),
            *_number("  validation", f"{measured:.3f}" if measured is not None else "–"),
            *_number("  learning rate", (f"{last.lr:.6f}" if last.lr < 10 else f"{last.lr:.2e}") if last else "–"),
            *_number("  gradient", _norm(last.grad_norm) if last else "–", 7),
        )


def _number(name: str, value: str, width: int = 8) -> tuple[tuple[str, str], tuple[str, str]]:
    return (f"{name} ", "muted"), (f"{value:>{width}}", "text")


def _norm(norm: float) -> str:
    return f"{norm:.3f}" if norm < 1000 else number_in(norm, 7)


def clock(seconds: float) -> str:
    """A time that is left, as h:mm:ss."""
    whole = int(min(max(0.0, seconds), 359_999))
    minutes = f"{whole // 60 % 60:02}:{whole % 60:02}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600}:{minutes}" if whole >= 3600 else minutes


class LossPlot(Sheet):
    """Training loss as a curve, validation losses as dots, and the losses that cannot be passed as level lines."""

    def __init__(self) -> None:
        super().__init__("losses")
        self.border_title = Content("loss")
        self._progress: TrainingStatus | None = None
        self._at: EvaluatedStep | None = None
        self._thinned = BinnedMeans()
        self._logarithmic = True

    def show(self, progress: TrainingStatus, at: EvaluatedStep | None) -> None:
        """Draw the losses, and a mark at the moment that is looked at."""
        self._progress, self._at = progress, at
        curve = self._curve(progress, self._field(*self.size)[0])
        if self.changed(progress.state, progress.begun, curve, progress.evaluated_steps, at, self._logarithmic):
            scale = "logarithmic" if self._logarithmic else "linear"
            text = Path(progress.recipe.text).name or "the tiny world"
            self.border_title = Content(one_line(f"{progress.name} · {text} · loss, nats a token"))
            self.border_subtitle = Content(f"⠒ training · ● validation · {scale}")

    def switch_scale(self) -> None:
        """A logarithmic scale, on which what is near the floor is told apart, or a linear one."""
        self._logarithmic = not self._logarithmic
        if self._progress:
            self.show(self._progress, self._at)

    def _field(self, width: int, height: int) -> tuple[int, int]:
        levels = LEVELS if width >= NARROW else 0
        return max(2, width - AXIS - levels), max(1, height - 1)

    def _curve(self, progress: TrainingStatus, across: int) -> tuple[tuple[float, float], ...]:
        return self._thinned.of(progress.losses, progress.recipe.steps, across)

    def _up(self, progress: TrainingStatus, begun: Begun) -> tuple[float, float]:
        """The lowest and the highest loss that is drawn; what may come is in it, so that it stays."""
        losses = [moment.loss for moment in progress.evaluated_steps]
        high = 1.04 * max([begun.ln_v, *losses[:1], *(loss for _, loss in progress.losses[:1])])
        if not self._logarithmic:
            return 0.0, high
        lowest = min([begun.floors.context if begun.floors else begun.ln_v, *losses])
        return math.log(next((s for s in SCALES if s < 0.98 * lowest), SCALES[-1])), math.log(high)

    def lines(self, width: int, height: int) -> Iterable[Text]:
        progress = self._progress
        if progress is None or progress.begun is None:
            yield self.text(("preparing …" if progress and progress.state == "preparing" else "", "faint"))
            return
        begun, steps = progress.begun, progress.recipe.steps
        across, down = self._field(width, height)
        up = self._up(progress, begun)
        scale = (lambda loss: math.log(max(loss, 1e-9))) if self._logarithmic else float
        grid = [[(" ", "faint")] * across for _ in range(down)]

        levels = _levels(begun)
        for _, loss in levels:
            _lay(grid, dotted(scale(loss), across, down, up), "faint")
        column = cell_of(self._at.step, 0, steps, across) if self._at else None
        if column is not None:
            for row in grid:
                row[column] = ("╎", "hot")
        curve = tuple((x, scale(y)) for x, y in self._curve(progress, across))
        _lay(grid, trace(curve, across, down, (0.0, float(steps)), up), "muted")
        for moment in progress.evaluated_steps:
            here = moment is self._at or moment == self._at
            line = down - 1 - cell_of(scale(moment.loss), *up, down)
            grid[line][cell_of(moment.step, 0, steps, across)] = ("◆", "hot") if here else ("●", "bar")

        axis = self._axis(up, down)
        names = dict(
            zip(spread_rows([down - 1 - cell_of(scale(y), *up, down) for _, y in levels], down), levels, strict=True)
        )
        for number, row in enumerate(grid):
            name = f" {names[number][0]:<10}{names[number][1]:>6.2f}" if number in names else ""
            yield self.text(
                (f"{axis.get(number, ''):>{AXIS - 2}} ", "muted"),
                ("┤" if number in axis else "│", "faint"),
                *_runs(row),
                (name if width >= NARROW else "", "muted"),
            )
        yield self._under(across, steps, column)

    def _axis(self, up: tuple[float, float], down: int) -> dict[int, str]:
        if self._logarithmic:
            low, high = map(math.exp, up)
            steps = (1, 2, 5) if high / low < 100 else (1,)
            values = [s * d for d in (0.001, 0.01, 0.1, 1.0, 10.0) for s in steps if low <= s * d * 1.001 <= high]
            return {down - 1 - cell_of(math.log(v) + 1e-9, *up, down): f"{v:g}" for v in values}
        return {down - 1 - cell_of(v, *up, down): f"{v:g}" for v in ticks(*up, max(2, 2 * down // 3))}

    def _under(self, across: int, steps: int, column: int | None) -> Text:
        """The ends of the steps, and the one that is looked at."""
        end = f"{steps:,} steps"
        line = self.text((" " * AXIS, "muted"), ("0" + end.rjust(across - 1), "muted"))
        if self._at and column is not None:
            words = f" {self._at.step:,} "
            left = max(0, min(column - len(words) // 2, across - len(words)))
            plain = line.plain[AXIS:]
            before, after = plain[:left], plain[left + len(words) :]
            if left + len(words) > across - len(end):  # never half of the end
                after = " " * len(after)
                before = before[: across - len(end)].ljust(left)
            line = self.text((" " * AXIS + before, "muted"), (words, "hot"), (after, "muted"))
        return line


def _levels(begun: Begun) -> list[tuple[str, float]]:
    """Names and losses of the level lines, the highest first."""
    levels, floors = [("ln V", begun.ln_v)], begun.floors
    if floors:
        levels += [("unigram", floors.unigram), ("last token", floors.last_token), ("context", floors.context)]
    return levels


def _lay(grid: list[list[tuple[str, str]]], drawn: Sequence[str], style: str) -> None:
    """Draw braille over what is there; lines of one style share a cell."""
    for row, line in zip(grid, drawn, strict=True):
        for column, cell in enumerate(line):
            if cell != " " and dots(cell):
                there, its = row[column]
                both = chr(0x2800 | dots(cell) | dots(there)) if its == style else cell
                row[column] = (both, "hot" if its == "hot" else style)


def _runs(row: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Neighbours of one style as one piece."""
    runs: list[tuple[str, str]] = []
    for cell, style in row:
        if runs and runs[-1][1] == style:
            runs[-1] = runs[-1][0] + cell, style
        else:
            runs.append((cell, style))
    return runs
