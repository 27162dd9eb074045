"""A model in training at its probe prompt: its candidates beside the true probabilities, and its checkpoints."""

import textwrap
from collections.abc import Iterable, Iterator

from rich.text import Text
from textual.content import Content

from core.language import _
from core.sampling.values import Candidate, Chart
from core.training.status import EvaluatedStep, TrainingStatus
from tui.drawing.bars import TICK, meter, tick_at
from tui.drawing.sheet import Sheet
from tui.drawing.text import fit, label, one_line, percent, run_text

FIGURE = 9
"""Width in cells of the column of a probability."""
SPACIOUS = 12
"""Lines from which a panel has a column header and a gap over it."""


class ProbePanel(Sheet):
    """The likeliest next tokens after the probe, each with its bar and a tick at its true probability."""

    def __init__(self) -> None:
        super().__init__("probe")
        self.border_title = Content(_("after the probe"))
        self._probe = ""
        self._chosen: EvaluatedStep | None = None

    def show(self, status: TrainingStatus, chosen: EvaluatedStep | None, follows: bool) -> None:
        """Draw a checkpoint; `follows`: whether the panel always shows the newest one."""
        self._probe, self._chosen = status.recipe.probe, chosen
        if not self.changed(status.recipe.probe, chosen, follows):
            return
        chart = chosen.evaluation.chart if chosen and chosen.evaluation else None
        self.border_title = Content(_title(chart))
        step = "" if chosen is None else _("after step {step:,}").format(step=chosen.step)
        self.border_subtitle = Content(
            step if follows or not step else _("{step} · end follows the newest").format(step=step)
        )

    def lines(self, width: int, height: int) -> Iterable[Text]:
        measured = self._chosen.evaluation if self._chosen else None
        if measured is None:
            if self._chosen:
                yield self.text((fit(_("not measured again after resuming; ⏎ walks from here"), width), "faint"))
            return
        rows = 2
        yield from self._sample(measured.sample, width, rows)
        chart = measured.chart
        if height >= SPACIOUS:
            yield Text()
            yield self._head(chart, width)
            rows += 2
        yield from self._bars(chart, width, max(1, height - rows))

    def _sample(self, sample: str, width: int, rows: int) -> Iterator[Text]:
        """The probe and the sampled continuation, in `rows` lines."""
        probe = one_line(self._probe) if self._probe else "<|endoftext|>"
        continuation = run_text([sample.encode()]) if sample else "…"
        lines = textwrap.wrap(probe + continuation, width, drop_whitespace=True) or [""]
        if len(lines) > rows:
            lines = [*lines[: rows - 1], fit(" ".join(lines[rows - 1 :]), width)]
        left = len(probe)
        for line in [*lines, *[""] * (rows - len(lines))]:
            shown = min(left, len(line))
            yield self.text((line[:shown], "muted"), (line[shown:], "strong"))
            left = max(0, left - len(line) - 1)

    def _columns(self, chart: Chart, width: int) -> tuple[int, int, bool]:
        """Widths in cells of the token and of the bar, and whether the true distribution is known."""
        true = chart.divergence_bits is not None
        token = 14 if width < 60 else 18
        return token, max(4, width - token - 2 - FIGURE * (1 + true)), true

    def _head(self, chart: Chart, width: int) -> Text:
        token, room, true = self._columns(chart, width)
        name = fit(_("token"), token)
        line = self.text((f"{name} 0{'1':>{room - 1}}{'p':>{FIGURE}}", "faint"))
        return (
            line.append_text(self.text((TICK.rjust(FIGURE - 5), "hot"), (" " + _("true"), "faint"))) if true else line
        )

    def _bars(self, chart: Chart, width: int, rows: int) -> Iterator[Text]:
        listed = chart.candidates[: rows - 1]
        for candidate in listed:
            yield self._row(chart, candidate, width)
        token, room, true = self._columns(chart, width)
        share = max(0.0, 1 - sum(candidate.probability for candidate in listed))
        left = chart.vocab_size - len(listed)
        true_share = max(0.0, 1 - sum(candidate.true or 0.0 for candidate in listed))
        yield self.text(
            (fit(_("others {left:,}").format(left=left), token) + " ", "faint"),
            (meter(share, room), "ghost"),
            (f"{percent(share, 2):>{FIGURE}}", "faint"),
            (f"{percent(true_share, 2):>{FIGURE}}" if true else "", "faint"),
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
        return _("after the probe")
    if chart.divergence_bits is None:
        return _("next token · H {entropy_bits:.2f} bits").format(entropy_bits=chart.entropy_bits)
    return _("next token · KL(true‖model) {divergence_bits:.3f} bits").format(divergence_bits=chart.divergence_bits)


class CheckpointsPanel(Sheet):
    """One line for each checkpoint: step, validation loss, KL from the true distribution, sampled text."""

    def __init__(self) -> None:
        super().__init__("checkpoints")
        self.border_title = Content(_("checkpoints"))
        self._moments: tuple[EvaluatedStep, ...] = ()
        self._chosen: EvaluatedStep | None = None
        self._first = 0

    def show(self, status: TrainingStatus, chosen: EvaluatedStep | None) -> None:
        """List the checkpoints, and mark one."""
        self._moments, self._chosen = status.evaluated_steps, chosen
        if self.changed(self._moments, chosen):
            self.border_subtitle = Content(f"{len(self._moments):,}" if self._moments else "")

    def lines(self, width: int, height: int) -> Iterable[Text]:
        if not self._moments:
            return
        at = next((n for n, each in enumerate(self._moments) if each == self._chosen), len(self._moments) - 1)
        room = max(1, height - 1)
        self._first = max(0, min(max(self._first, at - room + 1), at, len(self._moments) - room))
        steps = max(4, len(f"{self._moments[-1].step:,}"))
        step, loss, words = _("step"), _("loss"), _("continues with")
        yield self.text((f"  {step:>{steps}}{loss:>8}{'KL':>8}  {words}", "faint"))
        for each in self._moments[self._first : self._first + room]:
            yield self._row(each, each == self._chosen, steps, width)

    def _row(self, moment: EvaluatedStep, chosen: bool, steps: int, width: int) -> Text:
        measured = moment.evaluation
        divergence = measured.chart.divergence_bits if measured else None
        sample = run_text([measured.sample.encode()]) if measured and measured.sample else "" if measured else "·"
        row = self.text(
            ("◆ " if chosen else "  ", "hot"),
            (f"{moment.step:>{steps},}", "text" if chosen else "muted"),
            (f"{moment.loss:>8.4f}", "text"),
            (f"{divergence:>8.3f}" if divergence is not None else f"{'–':>8}", "muted"),
            (fit(f"  {sample.lstrip()}", max(0, width - steps - 18)), "text" if chosen else "muted"),
        )
        if chosen:
            row.stylize(self.style_of("sheet--cursor"))
        return row
