"""Owns what a rung that learns says at its probe, drawn: its candidates beside the truth, and its checkpoints."""

import textwrap
from collections.abc import Iterable, Iterator

from rich.text import Text
from textual.content import Content

from core.sampling.values import Candidate, Chart
from core.training.status import EvaluatedStep, TrainingStatus
from tui.drawing.bars import TICK, meter, tick_at
from tui.drawing.sheet import Sheet
from tui.drawing.text import fit, label, one_line, percent, run_text

FIGURE = 9
"""Cells of a probability."""
SPACIOUS = 12
"""Lines from which a panel has a head and a gap."""


class ProbePanel(Sheet):
    """The likeliest next tokens after the probe, each with its bar and a tick where the truth is."""

    def __init__(self) -> None:
        super().__init__("probe")
        self.border_title = Content("after the probe")
        self._probe = ""
        self._at: EvaluatedStep | None = None

    def show(self, progress: TrainingStatus, at: EvaluatedStep | None, follows: bool) -> None:
        """Draw a moment; `follows` tells whether it is the newest, whichever that becomes."""
        self._probe, self._at = progress.recipe.probe, at
        if not self.changed(progress.recipe.probe, at, follows):
            return
        chart = at.evaluation.chart if at and at.evaluation else None
        self.border_title = Content(_title(chart))
        known = "" if at is None else f"after step {at.step:,}"
        self.border_subtitle = Content(known if follows or not known else f"{known} · end follows the newest")

    def lines(self, width: int, height: int) -> Iterable[Text]:
        measured = self._at.evaluation if self._at else None
        if measured is None:
            if self._at:
                yield self.text((fit("not measured since it was taken up again; ⏎ walks from there", width), "faint"))
            return
        rows = 2
        yield from self._said(measured.sample, width, rows)
        chart = measured.chart
        if height >= SPACIOUS:
            yield Text()
            yield self._head(chart, width)
            rows += 2
        yield from self._bars(chart, width, max(1, height - rows))

    def _said(self, sample: str, width: int, rows: int) -> Iterator[Text]:
        """The probe, and how it was gone on with, in so many lines."""
        probe = one_line(self._probe) if self._probe else "<|endoftext|>"
        told = run_text([sample.encode()]) if sample else "…"
        lines = textwrap.wrap(probe + told, width, drop_whitespace=True) or [""]
        if len(lines) > rows:
            lines = [*lines[: rows - 1], fit(" ".join(lines[rows - 1 :]), width)]
        left = len(probe)
        for line in [*lines, *[""] * (rows - len(lines))]:
            shown = min(left, len(line))
            yield self.text((line[:shown], "muted"), (line[shown:], "strong"))
            left = max(0, left - len(line) - 1)

    def _columns(self, chart: Chart, width: int) -> tuple[int, int, bool]:
        """Cells of a token and of a bar, and whether the truth is known."""
        true = chart.divergence_bits is not None
        token = 14 if width < 60 else 18
        return token, max(4, width - token - 2 - FIGURE * (1 + true)), true

    def _head(self, chart: Chart, width: int) -> Text:
        token, room, true = self._columns(chart, width)
        line = self.text((f"{fit('token', token)} 0{'1':>{room - 1}}{'p':>{FIGURE}}", "faint"))
        return line.append_text(self.text((TICK.rjust(FIGURE - 5), "hot"), (" true", "faint"))) if true else line

    def _bars(self, chart: Chart, width: int, rows: int) -> Iterator[Text]:
        listed = chart.candidates[: rows - 1]
        for candidate in listed:
            yield self._row(chart, candidate, width)
        token, room, true = self._columns(chart, width)
        share = max(0.0, 1 - sum(candidate.probability for candidate in listed))
        left = chart.vocab_size - len(listed)
        rest = max(0.0, 1 - sum(candidate.true or 0.0 for candidate in listed))
        yield self.text(
            (f"{fit(f'others {left:,}', token)} ", "faint"),
            (meter(share, room), "ghost"),
            (f"{percent(share, 2):>{FIGURE}}", "faint"),
            (f"{percent(rest, 2):>{FIGURE}}" if true else "", "faint"),
        )

    def _row(self, chart: Chart, candidate: Candidate, width: int) -> Text:
        token, room, true = self._columns(chart, width)
        bar = meter(candidate.probability, room)
        line = self.text((f"{fit(label(candidate.piece), token)} ", "text"))
        if (at := tick_at(candidate.true, room, 1.0)) is None:
            line.append_text(self.text((bar, "bar")))
        else:
            line.append_text(self.text((bar[:at], "bar"), (TICK, "hot"), (bar[at + 1 :], "bar")))
        line.append_text(self.text((f"{percent(candidate.probability, 2):>{FIGURE}}", "text")))
        if true:
            figure = percent(candidate.true or 0.0, 2) if candidate.true else "–"
            line.append_text(self.text((f"{figure:>{FIGURE}}", "muted")))
        return line


def _title(chart: Chart | None) -> str:
    if chart is None:
        return "after the probe"
    if chart.divergence_bits is None:
        return f"next token · H {chart.entropy_bits:.2f} bits"
    return f"next token · KL(true‖model) {chart.divergence_bits:.3f} bits"


class CheckpointsPanel(Sheet):
    """Every measurement in a line, from gibberish to sentences."""

    def __init__(self) -> None:
        super().__init__("checkpoints")
        self.border_title = Content("checkpoints")
        self._moments: tuple[EvaluatedStep, ...] = ()
        self._at: EvaluatedStep | None = None
        self._first = 0

    def show(self, progress: TrainingStatus, at: EvaluatedStep | None) -> None:
        """List the moments, and mark one."""
        self._moments, self._at = progress.evaluated_steps, at
        if self.changed(self._moments, at):
            self.border_subtitle = Content(f"{len(self._moments):,}" if self._moments else "")

    def lines(self, width: int, height: int) -> Iterable[Text]:
        if not self._moments:
            return
        at = next((n for n, each in enumerate(self._moments) if each == self._at), len(self._moments) - 1)
        room = max(1, height - 1)
        self._first = max(0, min(max(self._first, at - room + 1), at, len(self._moments) - room))
        steps = max(4, len(f"{self._moments[-1].step:,}"))
        yield self.text((f"  {'step':>{steps}}{'loss':>8}{'KL':>8}  goes on with", "faint"))
        for each in self._moments[self._first : self._first + room]:
            yield self._row(each, each == self._at, steps, width)

    def _row(self, moment: EvaluatedStep, chosen: bool, steps: int, width: int) -> Text:
        seen = moment.evaluation
        apart = seen.chart.divergence_bits if seen else None
        told = run_text([seen.sample.encode()]) if seen and seen.sample else "" if seen else "·"
        row = self.text(
            ("◆ " if chosen else "  ", "hot"),
            (f"{moment.step:>{steps},}", "text" if chosen else "muted"),
            (f"{moment.loss:>8.4f}", "text"),
            (f"{apart:>8.3f}" if apart is not None else f"{'–':>8}", "muted"),
            (fit(f"  {told.lstrip()}", max(0, width - steps - 18)), "text" if chosen else "muted"),
        )
        if chosen:
            row.stylize(self.style_of("sheet--cursor"))
        return row
