"""Five samplers side by side: what each may draw at the position of the walk, and a text that each draws."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.screen import Screen

from core.language import N_, _
from core.sampling.bounds import high, low, through
from core.sampling.sampler import PRESETS, Sampler
from core.sampling.values import Candidate
from core.walk.values import SamplerColumn, SeveralSamplers
from tui import knobs
from tui.dialogs.choose import ChooseScreen, Entry
from tui.dialogs.line import LineScreen
from tui.drawing.bars import bars
from tui.drawing.sampler import sampler_text
from tui.drawing.text import fit, label, one_line, percent_in, run_text
from tui.drawing.wrap import wrapped
from tui.lenses.base import LensHost, LensPage
from tui.panels.footer import KeyFooter
from tui.runner import Frame, Question

if TYPE_CHECKING:
    from core.walk.session import Session

FIVE = {
    "greedy": "temp=0",
    "top-k": "top_k=40",
    "top-p": "top_p=0.9",
    "multinomial": "temp=1",
    N_("temperature"): "temp=0.7",
}
"""The columns at first: the five ways of drawing that the lesson on sampling compares."""
COUNTS = (5, 10, 20, 30, 50, 100)
"""Tokens that each column draws."""
GAP = 3
FEWEST, MOST = 3, 20
"""Candidates that a column lists."""


class SamplersPage(LensPage[SeveralSamplers]):
    """The columns; `cursor` is the one that keys change."""

    NAME = "samplers"
    TITLE = N_("samplers")

    def __init__(self, screen: "SamplersScreen", make_question: Callable[[], Question]) -> None:
        super().__init__()
        self._screen, self._make_question = screen, make_question

    def new_question(self) -> Question:
        return self._make_question()

    def waiting_text(self) -> str:
        return _("drawing …")

    def choice_count(self) -> int:
        return len(self._screen.names)

    def draw(self) -> None:
        super().draw()
        seed, count = self._screen.seed, self._screen.count
        self.border_title = Content(
            _("samplers · the same u in each column · seed {seed} · {count} tokens").format(seed=seed, count=count)
        )
        self.border_subtitle = Content(_("█ what is drawn · ░ the model's own probability · ▸ the token that u draws"))

    def lines(self, answer: SeveralSamplers, width: int, height: int) -> Iterator[Text]:
        side = (width - GAP * (len(answer.columns) - 1)) // len(answer.columns)
        rows = max(FEWEST, min(MOST, height - 12))
        scale = _scale(answer)
        columns = [
            list(self._column(number, column, side, rows, scale)) for number, column in enumerate(answer.columns)
        ]
        for row in range(max(map(len, columns))):
            line = Text()
            for number, column in enumerate(columns):
                cell = column[row] if row < len(column) else Text(" " * side)
                line.append_text(cell)
                line.append(" " * (side - cell.cell_len))
                if number < len(columns) - 1:
                    line.append(" │ ", self.style_of("lens--faint"))
            yield line

    def _column(self, number: int, column: SamplerColumn, side: int, rows: int, scale: float) -> Iterator[Text]:
        at = number == self.cursor
        name = _(self._screen.names[number])
        yield self.text((fit(f"{'▸' if at else ' '}{name}", side), "cursor" if at else "text"))
        yield self.text((fit(f" {sampler_text(column.sampler)}", side), "muted"))
        yield self.text((fit(" " + _("{kept:,} kept").format(kept=column.chart.kept), side), "muted"))
        yield Text()
        for candidate in _listed(column, rows):
            drawn = column.pieces[:1] == (candidate.piece,)
            yield self._candidate(candidate, side, scale, "hot" if drawn else "text")
        yield Text()
        yield from self._drawn_text(column, side)

    def _candidate(self, candidate: Candidate, side: int, scale: float, style: str) -> Text:
        share = candidate.sampled_probability
        wide = side >= 20
        cells = 7 if wide else 5
        figure = percent_in(share, int(wide), cells) if share else _("cut")
        token = min(12, max(4, side - cells - (6 if wide else 1)))
        room = max(0, side - token - cells - 1)
        bar = bars([low(share)], [candidate.probability], room, scale)[0] if room else ""
        drawn = bar.rstrip()
        solid = drawn.rstrip("░")
        return self.text(
            (fit(f"{'▸' if style == 'hot' else ' '}{label(candidate.piece)}", token), style if share else "faint"),
            (f"{figure:>{cells}} ", style if share else "faint"),
            (solid, "hot" if style == "hot" else "bar"),
            (drawn[len(solid) :], "ghost"),
        )

    def _drawn_text(self, column: SamplerColumn, side: int) -> Iterator[Text]:
        """The text that the column draws, and its mean surprisal."""
        if column.pieces:
            mean = through(lambda bits: bits / len(column.pieces), column.surprisal_bits)
            words = (
                _("{mean:.2f} bits a token").format(mean=mean) if side >= 20 else _("{mean:.2f} bits").format(mean=mean)
            )
            yield self.text((fit(f" {words}", side), "muted"))
            for line in wrapped(run_text(column.pieces).lstrip(), max(4, side - 1)):
                yield self.text((fit(f" {line}", side), "text"))
        if column.problem:
            for line in wrapped(one_line(column.problem), max(4, side - 1)):
                yield self.text((fit(f" {line}", side), "hot"))


def _scale(answer: SeveralSamplers) -> float:
    """The probability of a full bar: the highest one, without columns of a single token."""
    several = [column.chart.candidates for column in answer.columns if high(column.chart.kept) > 1]
    return max((max(c.probability, high(c.sampled_probability)) for each in several for c in each), default=1.0)


def _listed(column: SamplerColumn, rows: int) -> Sequence[Candidate]:
    """The likeliest tokens of the model."""
    return column.chart.candidates[:rows]


class SamplersScreen(Screen[Sampler | None]):
    """Five columns. Its answer is the sampler that the walk shall have, or None."""

    BINDINGS = [
        Binding("escape,q,F", "dismiss(None)", "close", key_display="esc"),
        Binding("left,h", "column(-1)", "column", key_display="←→"),
        Binding("right,l", "column(1)", "next column", show=False),
        Binding("e", "write", "edit"),
        Binding("P", "preset", "preset"),
        Binding("enter", "use", "use in the walk", key_display="⏎"),
        Binding("space", "step", "step"),
        Binding("r", "seed(1)", "other seed"),
        Binding("plus", "count(1)", "more tokens", key_display="+ -"),
        Binding("minus", "count(-1)", "fewer tokens", show=False),
        Binding("left_square_bracket", "knob('temperature',-1)", "T", key_display="[ ]"),
        Binding("right_square_bracket", "knob('temperature',1)", "hotter", show=False),
        Binding("less_than_sign", "knob('top_k',-1)", "fewer", show=False),
        Binding("greater_than_sign", "knob('top_k',1)", "more", show=False),
        Binding("left_curly_bracket", "knob('top_p',-1)", "narrower", show=False),
        Binding("right_curly_bracket", "knob('top_p',1)", "wider", show=False),
        Binding("left_parenthesis", "knob('min_p',-1)", "wider", show=False),
        Binding("right_parenthesis", "knob('min_p',1)", "narrower", show=False),
    ]

    def __init__(self, frame: Frame, seed: int, kept: dict[str, str] | None = None) -> None:
        super().__init__()
        columns = kept or FIVE
        self._frame = frame
        self.names = list(columns)
        self.samplers = [Sampler.read(text, seed) for text in columns.values()]
        self.count = COUNTS[2]
        self.page = SamplersPage(self, self._question)

    @property
    def seed(self) -> int:
        """That of every column."""
        return self.samplers[0].seed

    def compose(self) -> ComposeResult:
        yield self.page
        yield KeyFooter()

    def on_mount(self) -> None:
        self.page.show(self._frame)
        self.host.ask()

    def question(self) -> Question:
        """The question for the runner while this screen is open."""
        return self.page.question()  # type: ignore[return-value]  # a page always has one

    def _question(self) -> Question:
        samplers, count = tuple(self.samplers), self.count

        def draw(session: "Session") -> object:
            from core.walk.several_samplers import several_samplers  # noqa: PLC0415

            return several_samplers(session, samplers, count)

        return Question(draw)

    def show(self, frame: Frame) -> None:
        """Draw a frame."""
        self._frame = frame
        self.page.show(frame)

    @property
    def host(self) -> LensHost:
        return self.page.host

    # Actions ---------------------------------------------------------------------------------------------------------

    def action_column(self, by: int) -> None:
        self.page.move(by)

    def action_use(self) -> None:
        self.dismiss(self.samplers[self.page.cursor])

    def action_step(self) -> None:
        self.host.act(lambda session: session.step())

    def action_seed(self, by: int) -> None:
        self.samplers = [replace(each, seed=each.seed + by) for each in self.samplers]
        self.host.ask()

    def action_count(self, by: int) -> None:
        self.count = COUNTS[max(0, min(COUNTS.index(self.count) + by, len(COUNTS) - 1))]
        self.host.ask()

    def action_knob(self, name: str, by: int) -> None:
        before = self.samplers[self.page.cursor]
        after = knobs.turned(before, name, by)
        if idle := knobs.idle(before, after, name, by):
            self.host.inform(idle)
        if after != before:
            self._take(after)

    def action_write(self) -> None:
        hint = _("Stages in their order, such as top_k=40,min_p=0.05,temp=0.8, or the name of a preset.")
        present = str(self.samplers[self.page.cursor])
        self.app.push_screen(LineScreen(_("sampler"), hint, present, check=Sampler.read), self._take_text)

    def action_preset(self) -> None:
        entries = [Entry(name, name, text) for name, text in PRESETS.items()]
        self.app.push_screen(ChooseScreen(_("preset"), entries, ""), self._take_text)

    def _take_text(self, text: str | None) -> None:
        if text is not None:
            self._take(Sampler.read(text, self.seed), text if text in PRESETS else "")

    def _take(self, sampler: Sampler, name: str = "") -> None:
        at = self.page.cursor
        self.samplers[at], self.names[at] = sampler, name or _("own")
        self.host.ask()
