"""Owns the top-k chart: bars by plotext, the numbers of each token beside them, the tail as `others`."""

import math
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise

import plotext
from rich.segment import Segment
from rich.style import Style
from textual.content import Content
from textual.strip import Strip

from core.sampling.sampler import Sampler
from core.sampling.values import Candidate, Chart, SamplerStage, StageName
from tui.drawing.text import decimals_for, fit, label, number_in, percent, setting
from tui.lenses.base import Lens
from tui.runner import Frame

STREAMED_EVERY = 0.19
"""Seconds between two charts while tokens stream; faster ones cannot be read."""
FLAT = 0.2
"""Below this largest share bars that ended at 1 could not be told apart."""

TICK = "│"
"""Where the true probability ends."""

Row = tuple[Candidate | None, float, float]
"""A candidate (None: all others), its share of the draw, and the model's own, without patches where there are any."""


def scale_for(largest: float) -> float:
    """Where the bars end: at 1, or for a flat distribution at the round number (1, 2 or 5) above its largest share."""
    if largest > FLAT:
        return 1.0
    decade = 10.0 ** math.floor(math.log10(max(largest, 1e-12)))
    return next(factor * decade for factor in (1, 2, 5, 10) if largest <= factor * decade)


def bars(shares: list[float], ghosts: list[float], width: int, scale: float) -> list[str]:
    """One row of `width` characters a share: `█▌` is the share of the draw, `░` what the model gave beyond it.

    A share above `scale` fills the row.
    """
    halves = 2 * width / scale
    return [
        bar(round(min(share, scale) * halves), round(min(ghost, scale) * halves), width)
        for share, ghost in zip(shares, ghosts, strict=True)
    ]


@lru_cache(maxsize=8192)
def bar(share: int, ghost: int, width: int) -> str:
    """One row drawn by plotext: lengths in half cells. There are few of them, so each is drawn once."""
    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, 1)
    figure.theme("colorless")
    figure.axes(False)
    for length, marker in ((ghost, "░"), (share, "hd")):
        if length:
            # a quarter cell short, so that the last half cell is the one the length ends in
            figure.draw(figure.bar([1], [(length - 0.5) / 2], orientation="h", width=0.6, marker=marker))
    figure.ruler("x").lim(0, width).ticks([]).alignment(lim="edge")
    figure.ruler("y").lim(0.5, 1.5).ticks([]).alignment(lim="edge")
    return plotext.uncolorize(figure.build().string()).split("\n")[0].ljust(width)[:width]


class CandidatesPanel(Lens, can_focus=True):
    """What could come next, likeliest first, with a cursor on one of them."""

    NAME = "candidates"
    TITLE = "next token"
    WORDS = "The likeliest next tokens, to pick one"
    ALLOW_SELECT = False
    COMPONENT_CLASSES = {
        "candidates--head",
        "candidates--bar",
        "candidates--ghost",
        "candidates--others",
        "candidates--number",
        "candidates--cut",
        "candidates--cursor",
        "candidates--taken",
        "candidates--truth",
        "candidates--empty",
    }

    def __init__(self) -> None:
        super().__init__(id=self.NAME)
        self.border_title = Content(self.TITLE)
        self._chart: Chart | None = None
        self._painted_at = 0.0
        self._sampler = Sampler()
        self._empty = "loading torch …"
        self._cursor = 0
        self._top = 0
        self._strips: list[Strip] | None = None

    def show(self, frame: Frame) -> None:
        """Draw the chart of a frame."""
        chart = frame.snapshot.chart if frame.snapshot else None
        if chart is self._chart and chart is not None:
            return
        if frame.activity == "generating" and time.monotonic() - self._painted_at < STREAMED_EVERY:
            return
        if chart is not None and self._chart is not None and _ids(chart) != _ids(self._chart):
            self._cursor = 0
        self._chart = chart
        if frame.snapshot:
            self._sampler = frame.snapshot.sampler
        if chart is None:
            self._empty = "no model · m chooses one, d a device" if frame.activity == "idle" else "loading torch …"
            self.border_title, self.border_subtitle = Content(self.TITLE), Content("")
        self._paint()

    def move(self, by: int) -> None:
        """Move the cursor among the candidates."""
        if self._chart:
            self._cursor = max(0, min(self._cursor + by, len(self._chart.candidates) - 1))
            self._paint()

    def take(self, place: int | None = None) -> None:
        """Choose the candidate under the cursor, or the n-th."""
        if self._chart:
            rank = self._cursor if place is None else place - 1
            if rank < len(self._chart.candidates):
                id = self._chart.candidates[rank].id
                self.desk.act(lambda session: session.take(id))

    def on_resize(self) -> None:
        self._paint()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._strips = None

    # Painting --------------------------------------------------------------------------------------------------------

    def _paint(self) -> None:
        self._painted_at = time.monotonic()
        self._strips = None
        chart, width = self._chart, self.size.width
        if chart:
            effective = f"{chart.effective:,.0f}" if chart.effective >= 100 else f"{chart.effective:.1f}"
            unit = " candidates" if width > 50 else ""
            patched = chart.candidates[0].unpatched is not None
            truth = " · │ true" if chart.divergence_bits is not None else ""
            more = patched or bool(truth)
            name = "next" if more and width <= 50 else "next token"
            count = "" if more and width <= 50 else f" · ≈ {effective}{'' if more else unit}"
            title = f"{name} · H {chart.entropy_bits:.2f} bits{count}{' · ░ unpatched' if patched else ''}{truth}"
            self.border_title = Content(title)
            self.border_subtitle = Content(stages_line(chart.stages, self._sampler, width))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        if self._strips is None:
            self._strips = self._lines(*self.size)
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, self.look())

    def _lines(self, width: int, height: int) -> list[Strip]:
        if self._chart is None:
            return [Strip([Segment(fit(self._empty, width), self.look("candidates--empty"))], width)]
        return self._rows(self._chart, width, height)

    def _rows(self, chart: Chart, width: int, height: int) -> list[Strip]:
        room = max(1, height - 2)
        taken = chart.taken
        shown = min(len(chart.candidates), room)
        self._top = max(0, min(self._top, self._cursor, len(chart.candidates) - shown))
        self._top = max(self._top, self._cursor - shown + 1)
        visible = chart.candidates[self._top : self._top + shown]
        if taken and not any(c.id == taken.id for c in visible) and len(visible) > 1:
            visible = (*visible[:-1], taken) if taken.rank > visible[-1].rank else (taken, *visible[1:])
        rows: list[Row] = [(c, c.sampled_probability, _ghost(c)) for c in visible]
        kept_besides = chart.stages[-1].kept - sum(c.sampled_probability > 0 for c in visible)
        share = max(0.0, 1 - sum(share for _, share, _ in rows)) if kept_besides else 0.0
        rows.append((None, share, max(0.0, 1 - sum(own for _, _, own in rows))))

        largest = max(max(share, own) for _, share, own in rows[:-1])
        scale, decimals = scale_for(largest), decimals_for(largest)
        columns = _Columns.of(width, decimals)
        drawn = bars([share for _, share, _ in rows], [own for _, _, own in rows], columns.bar, scale)
        strips = [self._head(columns, scale, width)]
        for (candidate, share, own), bar in zip(rows, drawn, strict=True):
            if candidate is None:
                strips.append(self._others(columns, chart.vocab_size - len(visible), share, own, bar, decimals, scale))
            else:
                tick = tick_at(candidate.true, columns.bar, scale)
                strips.append(self._row(columns, candidate, bar, tick, decimals, taken))
        return strips

    def _head(self, columns: "_Columns", scale: float, width: int) -> Strip:
        style = self.look("candidates--head")
        end = f"{scale:g}" if scale >= 0.001 else f"{scale:.0e}".replace("e-0", "e-")
        axis = "0" + end.rjust(columns.bar - 1)
        text = (
            f"{'#':>{columns.rank}} {fit('token', columns.token)} {fit(axis, columns.bar)} "
            f"{'p':>{columns.share}} {'logit':>{columns.logit}}"
        )
        return Strip([Segment(fit(text, width), style)], width)

    def _row(
        self,
        columns: "_Columns",
        candidate: Candidate,
        bar: str,
        tick: int | None,
        decimals: int,
        taken: Candidate | None,
    ) -> Strip:
        is_taken = taken is not None and candidate.id == taken.id
        cut = candidate.sampled_probability == 0
        at_cursor = candidate.rank == self._cursor
        ground = self.look("candidates--cursor") if at_cursor else self.look()
        number = self.look("candidates--cut" if cut else "candidates--number")
        text = self.look("candidates--cut") if cut else self.look()
        if is_taken:
            text = self.look("candidates--taken")
        rank = f"{candidate.rank + 1}" if candidate.rank < 10**columns.rank else "…"
        mark = "▸" if is_taken else "›" if at_cursor else " "
        share = "cut" if cut else percent(candidate.sampled_probability, decimals)
        return self._join(
            columns,
            ground,
            (f"{rank:>{columns.rank}}", number),
            (mark, text),
            (fit(label(candidate.piece), columns.token), text),
            (" ", text),
            *self._bar(bar, "candidates--bar", tick),
            (f" {share:>{columns.share}}", text),
            (f" {number_in(candidate.logit, columns.logit)}", number),
        )

    def _others(
        self, columns: "_Columns", count: int, share: float, own: float, bar: str, decimals: int, scale: float
    ) -> Strip:
        style = self.look("candidates--others")
        name = f"others {count:,}"
        cut = share == 0 and own > 0
        figure = "cut" if cut else percent(share, min(decimals, 2))
        if share > scale:
            bar = bar[:-1] + "▶"
        return self._join(
            columns,
            self.look(),
            (" " * (columns.rank + 1), style),
            (fit(name, columns.token), style),
            (" ", style),
            *self._bar(bar, "candidates--others"),
            (f" {figure:>{columns.share}}", style),
            (" " * (columns.logit + 1), style),
        )

    def _bar(self, bar: str, style: str, tick: int | None = None) -> list[tuple[str, Style]]:
        drawn = bar.rstrip(" ")
        solid = drawn.rstrip("░")
        parts = [
            (solid, self.look(style)),
            (drawn[len(solid) :], self.look("candidates--ghost")),
            (bar[len(drawn) :], self.look("candidates--number")),
        ]
        return parts if tick is None else list(ticked(parts, tick, self.look("candidates--truth")))

    def _join(self, columns: "_Columns", ground: Style, *parts: tuple[str, Style]) -> Strip:
        back = Style(bgcolor=ground.bgcolor, bold=ground.bold)
        strip = Strip([Segment(text, style + back) for text, style in parts if text], columns.width)
        return strip.simplify().adjust_cell_length(self.size.width, back)


class _Columns:
    """Widths of the columns: the bar takes what the numbers leave."""

    def __init__(self, rank: int, token: int, bar: int, share: int, logit: int) -> None:
        self.rank, self.token, self.bar, self.share, self.logit = rank, token, bar, share, logit
        self.width = rank + 1 + token + 1 + bar + 1 + share + 1 + logit

    @classmethod
    def of(cls, width: int, decimals: int) -> "_Columns":
        rank, logit, share = 2, 6, max(7, decimals + 3)
        token = 14 if width < 56 else 18
        bar = width - rank - logit - share - token - 4
        if bar < 6:
            token = max(8, token - (6 - bar))
            bar = width - rank - logit - share - token - 4
        return cls(rank, token, max(2, bar), share, logit)


def tick_at(true: float | None, width: int, scale: float) -> int | None:
    """The cell of a row in which the true probability ends; None where it is not known, 0, or beyond the row."""
    if not true or true > scale:
        return None
    return min(width - 1, int(true * width / scale))


def ticked(parts: Iterable[tuple[str, Style]], tick: int, style: Style) -> Iterator[tuple[str, Style]]:
    """Pieces of a row with `│` over one of its cells."""
    for text, own in parts:
        if 0 <= tick < len(text):
            yield text[:tick], own
            yield TICK, own + style
            yield text[tick + 1 :], own
        else:
            yield text, own
        tick -= len(text)


def stages_line(stages: tuple[SamplerStage, ...], sampler: Sampler, width: int) -> str:
    """What each stage of the sampler is set to and what it left, in their order; min-p only where it is set."""
    temperature = "greedy" if sampler.greedy else f"T {setting(sampler.temperature, 1)}"
    settings: dict[StageName, str] = {
        "temperature": temperature,
        "top-k": f"k {sampler.top_k or 'off'}",
        "top-p": f"p {setting(sampler.top_p, 2) if sampler.top_p < 1 else 'off'}",
    }
    if sampler.min_p > 0:
        settings["min-p"] = f"min-p {setting(sampler.min_p, 2)}"
    parts = []
    for before, after in pairwise(stages):
        if after.name in settings:
            cuts = after.kept < before.kept and after.name != "temperature"
            cut = f" cuts {100 * (before.mass - after.mass):.1f}%" if cuts else ""
            parts.append(settings[after.name] + cut)
    kept = f"{stages[-1].kept:,} kept"
    text = " → ".join([*parts, kept])
    return text if len(text) + 4 <= width else f"{temperature} → {kept}"


def _ghost(candidate: Candidate) -> float:
    return candidate.probability if candidate.unpatched is None else candidate.unpatched


def _ids(chart: Chart) -> tuple[int, ...]:
    return tuple(candidate.id for candidate in chart.candidates[:5])
