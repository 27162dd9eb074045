"""The chart of the next token: a bar and the numbers of each candidate, and one row for all other tokens."""

import math
import time
from collections.abc import Sequence
from itertools import accumulate

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip

from core.causal.question import Measured
from core.errors import Action, UserError
from core.language import N_, _
from core.remote.address import is_address
from core.sampling.bounds import Bounded, between, high, low
from core.sampling.values import Candidate, Chart
from tui.drawing.bars import Axis, bars, tick_at, ticked
from tui.drawing.chart_columns import MARKS, ChartColumns, figure, has_cut
from tui.drawing.chart_title import chart_title
from tui.drawing.peak import BULK, peak_line
from tui.drawing.question import why_in
from tui.drawing.sampler import stages_line
from tui.drawing.text import decimals_for, fit, label, number_in, percent
from tui.drawing.wrap import wrapped
from tui.lenses.base import KeyWords, Lens
from tui.lenses.base.lens import BORDER
from tui.runner import Frame

STREAMED_EVERY = 0.19
"""Seconds between two charts while tokens are generated; nobody can read them faster."""
INDENT = 3
"""Cells before a line under the rows."""
NEGLIGIBLE = 1e-13
"""A rest below this is no more than the rounding of the sum."""
TALL = 10
"""Lines of a panel from which on the bars of the theme for a projector are two lines high."""
ChartRow = tuple[Candidate | None, Bounded, float]
"""A candidate (None: all others), its probability in the draw, and the model's own one (without patches)."""


class ChartLens(Lens, can_focus=True):
    """The candidates, likeliest first, with a cursor on one of them."""

    NAME = "candidates"
    TITLE = N_("next token")
    DESCRIPTION = N_("The likeliest next tokens, to choose one")
    GROUP = N_("Next token")
    ALSO = N_("probabilities distribution candidates bar chart top-k")
    KEYS = KeyWords(move=N_("pick"), choose=N_("take"))
    ALLOW_SELECT = False
    COMPONENT_CLASSES = {
        "candidates--head",
        "candidates--bar",
        "candidates--ghost",
        "candidates--others",
        "candidates--number",
        "candidates--beyond",
        "candidates--cut",
        "candidates--cursor",
        "candidates--taken",
        "candidates--truth",
        "candidates--empty",
    }

    class Hidden(Message):
        """The chart has no place on the screen any longer."""

    def __init__(self) -> None:
        super().__init__(id=self.NAME)
        self.entitle()
        self._chart: Chart | None = None
        self._painted_at = 0.0
        self._asked: Measured | None = None
        """The question of causal experiments, where a person chose a token of it."""
        self._ghost = ""
        """What the ghost of a bar shows: the model without its patches, or without its adapter."""
        self._empty = _("loading torch …")
        self._cursor = 0
        self._first_row = 0
        self._logarithmic = False
        self.absent = ""
        """Why there is no chart, in the place of the usual reasons."""
        self._strips: list[Strip] | None = None
        self._ranks: list[int | None] = []
        """The rank of the candidate in each line; None where there is none."""

    def show(self, frame: Frame) -> None:
        """Draw the chart of a frame."""
        chart = frame.snapshot.chart if frame.snapshot else None
        asked = frame.snapshot.measured if frame.snapshot else None
        if chart is self._chart and chart is not None and asked == self._asked:
            return
        if frame.activity == "generating":
            awaited = chart is None and self._chart is not None  # the last one stays until an engine answers
            if awaited or time.monotonic() - self._painted_at < STREAMED_EVERY:
                return
        if chart is not None and self._chart is not None and _first_ids(chart) != _first_ids(self._chart):
            self._cursor = 0
        self._chart = chart
        self._asked = asked
        if frame.snapshot:
            self._ghost = _("unpatched") if frame.snapshot.patches else _("base")
        if chart is None:
            self._empty = self.absent or _why_empty(frame)
            self.entitle()
            self.hint("")
        self._paint()

    @property
    def candidate(self) -> Candidate | None:
        """The candidate under the cursor."""
        candidates = self._chart.candidates if self._chart else ()
        return candidates[self._cursor] if self._cursor < len(candidates) else None

    @property
    def cursor(self) -> int:
        """The index of the candidate under the cursor."""
        return self._cursor

    @property
    def answered_by(self) -> str:
        return "attribution" if self._asked else ""

    def put_cursor(self, index: int) -> None:
        """Put the cursor on a candidate."""
        self.move(index - self._cursor)

    def move(self, by: int) -> None:
        """Move the cursor among the candidates."""
        self.pointed = False
        if self._chart:
            self._cursor = max(0, min(self._cursor + by, len(self._chart.candidates) - 1))
            self._paint()

    def choose(self, number: int | None = None) -> None:
        """Append the candidate under the cursor, or candidate `number`, to the walk."""
        if self._chart:
            rank = self._cursor if number is None else number - 1
            if rank < len(self._chart.candidates):
                id = self._chart.candidates[rank].id
                self.host.act(lambda session: session.take(id))

    def switch_view(self) -> None:
        """Draw the bars on a logarithmic axis, or on a linear one again."""
        self._logarithmic = not self._logarithmic
        self._paint()

    def on_click(self, event: events.Click) -> None:
        rank = dict(enumerate(self._ranks)).get(event.get_content_offset_capture(self).y)
        if rank is not None:
            self.point(rank - self._cursor)

    def on_mouse_scroll_down(self) -> None:
        self.move(1)

    def on_mouse_scroll_up(self) -> None:
        self.move(-1)

    def on_resize(self) -> None:
        self._paint()

    def on_show(self) -> None:
        self._paint()

    def on_hide(self, event: events.Hide) -> None:
        self.post_message(self.Hidden())

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._strips = None

    # Painting --------------------------------------------------------------------------------------------------------

    def _paint(self) -> None:
        self._painted_at = time.monotonic()
        self._strips = None
        chart, width = self._chart, self.size.width
        if chart:
            name, detail = chart_title(chart, width, self.outer_size.width - BORDER, self._ghost)
            self.entitle(detail, name)
            stages = stages_line(chart.stages, chart.kept, width)
            self.hint(chart.problem or " · ".join(filter(None, (self._question(chart), stages))))
        self.refresh()

    def _question(self, chart: Chart) -> str:
        """The question of experiments, and where there is room the lens that answers it; empty where nobody asked."""
        if self._asked is None:
            return ""
        where = self.host.spell(UserError(_("{key} attribution"), key=Action("lens.index")))
        return why_in(self._asked, len(chart.candidates), self.outer_size.width - BORDER, where)

    def render_line(self, y: int) -> Strip:
        if self._strips is None:
            self._strips = self._lines(*self.size)
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, self.style_of())

    def _lines(self, width: int, height: int) -> list[Strip]:
        if self._chart is None:
            style = self.style_of("candidates--empty")
            return [Strip([Segment(fit(line, width), style)], width) for line in wrapped(self._empty, max(1, width))]
        return self._rows(self._chart, width, height)

    def _rows(self, chart: Chart, width: int, height: int) -> list[Strip]:
        tall, peak = self.projected and height >= TALL, peak_line(chart, width - INDENT)
        below = (chart.known is not None) + bool(peak)
        room = max(1, (height - 2 - below) // (1 + tall))
        taken = chart.taken
        shown = min(len(chart.candidates), room)
        self._first_row = max(0, min(self._first_row, self._cursor, len(chart.candidates) - shown))
        self._first_row = max(self._first_row, self._cursor - shown + 1)
        visible = chart.candidates[self._first_row : self._first_row + shown]
        if taken and not any(c.id == taken.id for c in visible) and len(visible) > 1:
            visible = (*visible[:-1], taken) if taken.rank > visible[-1].rank else (taken, *visible[1:])
        ranks = [c.rank for c in visible if c.rank < len(chart.candidates)]
        self._ranks = [None, *(rank for rank in ranks for _line in range(1 + tall))]
        rows: list[ChartRow] = [(c, c.sampled_probability, _own_probability(c)) for c in visible]
        rows.append((None, _rest(chart, rows), max(0.0, 1 - sum(own for _, _, own in rows))))

        decimals = decimals_for(max(max(high(share), own) for _, share, own in rows[:-1]))
        axis = Axis.of((each for _, share, own in rows[:-1] for each in (high(share), own)), self._logarithmic)
        columns = ChartColumns.of(
            width, decimals, bounded=chart.known is not None, with_logit=not tall, with_cut=has_cut(chart)
        )
        ends = [axis.at(low(share)) for _, share, _ in rows]
        drawn = bars(ends, [axis.at(own) for _, _, own in rows], columns.bar, 1.0)
        strips = [self._head(columns, axis, width, _("ln p") if chart.from_logprobs else "logit")]
        beyond = _beyond(chart)
        if ends[-1] > 1:
            drawn[-1] = drawn[-1][:-1] + "▶"
        for (candidate, share, own), bar in zip(rows, drawn, strict=True):
            if candidate is None:
                before = max(0.0, 1 - sum(c.probability for c in visible)) if chart.known is None else None
                words = figure(columns, share, before if own > 0 else 0.0, min(decimals, 2))
                strips.append(self._others(columns, chart.vocab_size - len(visible), words, bar))
            else:
                tick = tick_at(axis.at(candidate.true), columns.bar, 1.0) if candidate.true else None
                words = figure(columns, share, candidate.share, decimals)
                strips.append(self._row(columns, candidate, bar, tick, words, taken, candidate.rank in beyond))
                if tall:
                    strips.append(self._lower_half(columns, candidate, bar, tick))
        if chart.known is not None:
            strips.append(self._known(chart, chart.known, decimals, width))
        if peak:
            line = fit(f"{'':{INDENT}}{peak}", width)
            strips.append(Strip([Segment(line, self.style_of("candidates--others"))], width))
        return strips

    def _known(self, chart: Chart, known: int, decimals: int, width: int) -> Strip:
        """How many tokens are known, and the mass of the others."""
        unknown, rest = chart.vocab_size - known, chart.unknown_probability
        for indent, places in ((3, min(decimals, 2)), (0, 1)):
            own, other = (percent(share, places) for share in (1 - rest, rest))
            words = _("known {known:,}: {own} · unknown {unknown:,}: {other}")
            words = " " * indent + words.format(known=known, own=own, unknown=unknown, other=other)
            if len(words) <= width:
                break
        return Strip([Segment(fit(words, width), self.style_of("candidates--others"))], width)

    def _head(self, columns: ChartColumns, axis: Axis, width: int, score: str) -> Strip:
        style = self.style_of("candidates--head")
        text = (
            f"{'#':>{columns.rank}}{'':{MARKS}}{fit(_('token'), columns.token)} {axis.label(columns.bar)} "
            f"{_('p (cut)') if columns.cut else 'p':>{columns.share}} {score if columns.logit else '':>{columns.logit}}"
        )
        return Strip([Segment(fit(text, width), style)], width)

    def _row(
        self,
        columns: ChartColumns,
        candidate: Candidate,
        bar: str,
        tick: int | None,
        share: str,
        taken: Candidate | None,
        faint: bool,
    ) -> Strip:
        is_taken = taken is not None and candidate.id == taken.id
        cut = candidate.sampled_probability == 0
        at_cursor = candidate.rank == self._cursor
        ground = self.style_of("candidates--cursor") if at_cursor else self.style_of()
        weak = "candidates--cut" if cut else "candidates--beyond" if faint else ""
        number, text = self.style_of(weak or "candidates--number"), self.style_of(weak)
        if is_taken:
            text = self.style_of("candidates--taken")
        rank = f"{candidate.rank + 1}" if candidate.known and candidate.rank < 10**columns.rank else "…"
        mark = ("›" if at_cursor else " ") + ("▸" if is_taken else self._letter(candidate) or " ")
        score = number_in(candidate.logit, columns.logit) if candidate.known and columns.logit else " " * columns.logit
        return self._join(
            columns,
            ground,
            (f"{rank:>{columns.rank}}", number),
            (mark, text),
            (fit(label(candidate.piece), columns.token), text),
            (" ", text),
            *self._bar(bar, "candidates--bar", tick),
            (f" {share}", text),
            (f" {score}", number),
        )

    def _lower_half(self, columns: ChartColumns, candidate: Candidate, bar: str, tick: int | None) -> Strip:
        """The line under a candidate: its bar goes on for half a line, so that half a line is between two bars."""
        at_cursor = candidate.rank == self._cursor
        ground = self.style_of("candidates--cursor") if at_cursor else self.style_of()
        lower = bar.replace("█", "▀").replace("▌", "▘")
        before, after = columns.rank + MARKS + columns.token + 1, columns.share + columns.logit + 2
        return self._join(
            columns,
            ground,
            (" " * before, ground),
            *self._bar(lower, "candidates--bar", tick),
            (" " * after, ground),
        )

    def _letter(self, candidate: Candidate) -> str:
        """`A` and `B`, the two tokens of the question; empty for others, and where nobody chose one."""
        target = self._asked.target if self._asked else None
        return "" if target is None else {target.id: "A", target.against: "B"}.get(candidate.id, "")

    def _others(self, columns: ChartColumns, count: int, share: str, bar: str) -> Strip:
        style = self.style_of("candidates--others")
        name = _("others {count:,}").format(count=count)
        return self._join(
            columns,
            self.style_of(),
            (" " * (columns.rank + MARKS), style),
            (fit(name, columns.token), style),
            (" ", style),
            *self._bar(bar, "candidates--others"),
            (f" {share}", style),
            (" " * (columns.logit + 1), style),
        )

    def _bar(self, bar: str, style: str, tick: int | None = None) -> list[tuple[str, Style]]:
        drawn = bar.rstrip(" ")
        solid = drawn.rstrip("░")
        parts = [
            (solid, self.style_of(style)),
            (drawn[len(solid) :], self.style_of("candidates--ghost")),
            (bar[len(drawn) :], self.style_of("candidates--number")),
        ]
        return parts if tick is None else list(ticked(parts, tick, self.style_of("candidates--truth")))

    def _join(self, columns: ChartColumns, ground: Style, *parts: tuple[str, Style]) -> Strip:
        back = Style(bgcolor=ground.bgcolor, bold=ground.bold)
        strip = Strip([Segment(text, style + back) for text, style in parts if text], columns.width)
        return strip.simplify().adjust_cell_length(self.size.width, back)


def _rest(chart: Chart, rows: Sequence[ChartRow]) -> Bounded:
    """The probability in the draw of all tokens but those of `rows`."""
    if high(chart.kept) <= sum(low(share) > 0 for _, share, _ in rows):
        return 0.0
    least, most = (max(0.0, 1 - math.fsum(end(share) for _, share, _ in rows)) for end in (high, low))
    return between(0.0, NEGLIGIBLE) if most < NEGLIGIBLE else between(least, most)


def _beyond(chart: Chart) -> set[int]:
    """The ranks of the candidates after those that hold `BULK` of the probability in the draw."""
    before = accumulate((low(each.sampled_probability) for each in chart.candidates), initial=0.0)
    return {each.rank for each, mass in zip(chart.candidates, before, strict=False) if mass >= BULK}


def _own_probability(candidate: Candidate) -> float:
    if not candidate.known:
        return 0.0
    return candidate.probability if candidate.unpatched is None else candidate.unpatched


def _first_ids(chart: Chart) -> tuple[int, ...]:
    return tuple(candidate.id for candidate in chart.candidates[:5])


def _why_empty(frame: Frame) -> str:
    """Why there is no chart."""
    if frame.model and is_address(frame.model.name):
        if frame.activity == "idle" and not frame.tokenizer:
            return _("the engine cannot be reached · read only")
        return (
            _("the engine was not asked yet · space asks it")
            if frame.activity == "idle"
            else _("waiting for the engine …")
        )
    if frame.activity != "idle":
        return _("loading torch …")
    return "" if frame.model else _("no model · m chooses a model, d a device")  # a model that has just been loaded
