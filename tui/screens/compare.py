"""The comparison: the next-token distributions of two models, A and B, at one position of the walk.

A is the model of the walk. B may differ in model, device, dtype, sampler or prompt.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen

from core.evaluation.values import Comparison
from core.language import N_, _
from core.loading import catalog
from core.loading.choice import ModelChoice
from core.loading.info import ModelInfo
from core.sampling.bounds import Bounded, Bounds, high, low
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate, Chart
from core.walk.values import OtherSide
from tui import knobs
from tui.dialogs.choose import ChooseScreen
from tui.dialogs.line import LineScreen
from tui.drawing.bars import FLAT, bars, scale_for
from tui.drawing.sampler import sampler_text
from tui.drawing.text import decimals_for, fit, label, one_line, percent, run_text
from tui.lenses.base import LensHost, LensPage
from tui.panels.footer import KeyFooter
from tui.runner import Frame, Question

if TYPE_CHECKING:
    from core.walk.session import Session


class ComparePage(LensPage[OtherSide]):
    """Both charts and their divergences. `new_question` gives the question for the session."""

    NAME = "comparison"
    TITLE = N_("compare")

    def __init__(self, make_question: Callable[[], Question]) -> None:
        super().__init__()
        self._make_question = make_question

    def new_question(self) -> Question:
        return self._make_question()

    def waiting_text(self) -> str:
        asked = self._question is not None and self.frame.question is self._question
        return _("loading B …") if asked else _("m chooses model B")

    def lines(self, answer: OtherSide, width: int, height: int) -> Iterator[Text]:
        snapshot, model = self.frame.snapshot, self.frame.model
        if snapshot is None or model is None:
            return
        comparison = answer.comparison
        side = (width - 3) // 2
        pieces = tuple(token.piece for token in snapshot.tokens[max(0, snapshot.cursor - 8) : snapshot.cursor])
        patched = " · " + _("patched {count}").format(count=len(snapshot.patches)) if snapshot.patches else ""
        also = patched if answer.model.choice == model.choice else ""  # then it is the same model
        heads = (f"A  {_model_text(model)}{patched}", "text"), (f"B  {_model_text(answer.model)}{also}", "text")
        yield self._two_cells(*heads, side)
        yield self._two_cells(
            _sampler_cell(snapshot.sampler, comparison.chart_a), _sampler_cell(answer.sampler, comparison.chart_b), side
        )
        position_a = f"{snapshot.cursor}/{len(snapshot.tokens)} …{run_text(pieces)}"
        position_b = f"{answer.cursor}/{answer.length} …{run_text(answer.pieces)}"
        yield self._two_cells((position_a, "muted"), (position_b, "muted"), side)
        yield Text()
        yield self._divergences(comparison)
        yield self._likeliest(comparison)
        yield Text()
        yield from self._charts(comparison, side, max(3, height - 8))

    def _two_cells(self, a: tuple[str, str], b: tuple[str, str], side: int) -> Text:
        """A text and its style for each model, in `side` cells each."""
        return self.text((fit(a[0], side), a[1]), ("   ", "faint"), (fit(b[0], side), b[1]))

    def _divergences(self, comparison: Comparison) -> Text:
        divergence = comparison.divergence
        unit = "" if divergence.over == "token" else _("over the next byte: the tokenizers differ")
        return self.text(
            ("KL(A‖B) ", "muted"),
            (_bits(divergence.kl_ab_bits), "text"),
            ("   KL(B‖A) ", "muted"),
            (_bits(divergence.kl_ba_bits), "text"),
            ("   JS ", "muted"),
            (_bits(divergence.js_bits), "text"),
            (" " + _("bits") + " ", "muted"),
            (unit, "hot") if unit else (_("without T and cuts"), "muted"),
        )

    def _likeliest(self, comparison: Comparison) -> Text:
        best_a, best_b = (label(chart.candidates[0].piece) for chart in (comparison.chart_a, comparison.chart_b))
        if comparison.agree:
            return self.text((_("same likeliest token"), "bar"), (f" {best_a}", "text"))
        return self.text(
            (_("likeliest tokens differ:"), "hot"),
            (" ", "text"),
            (_("A's {best_a} is {rank} in B").format(best_a=best_a, rank=_rank(comparison.rank_in_b)), "text"),
            (" · ", "faint"),
            (_("B's {best_b} is {rank} in A").format(best_b=best_b, rank=_rank(comparison.rank_in_a)), "text"),
        )

    def _charts(self, comparison: Comparison, side: int, rows: int) -> Iterator[Text]:
        """Both charts side by side on one scale."""
        a, b = comparison.chart_a, comparison.chart_b
        largest = max(max(c.probability, high(c.sampled_probability)) for c in (a.candidates[0], b.candidates[0]))
        scale = next((s for s in (0.25, 0.5) if FLAT < largest <= s), scale_for(largest))
        left, right = (self._column(chart, other, side, rows, scale) for chart, other in ((a, b), (b, a)))
        for line, line_of_b in zip_longest(left, right, fillvalue=Text()):
            line.append(" │ ", self.style_of("lens--faint"))
            line.append_text(line_of_b)
            yield line

    def _column(self, chart: Chart, other: Chart, side: int, rows: int, scale: float) -> Iterator[Text]:
        """The rows of one chart; the likeliest token of the `other` chart is marked."""
        decimals = min(4, decimals_for(chart.candidates[0].probability))
        figure, token = max(8, decimals + 5), min(18, side // 3)
        room = max(3, side - token - figure - 5)
        best = other.candidates[0].piece
        for candidate in chart.candidates[: rows - 1]:
            yield self._row(candidate, candidate.piece == best, token, room, figure, scale, decimals)
        others = chart.vocab_size - min(rows - 1, len(chart.candidates))
        share = max(0.0, 1 - sum(low(c.sampled_probability) for c in chart.candidates[: rows - 1]))
        yield self.text(
            (fit("    " + _("others {others:,}").format(others=others), token + room + 5), "faint"),
            (f"{percent(share, decimals):>{figure}}", "faint"),
        )

    def _row(
        self, candidate: Candidate, best: bool, token: int, room: int, figure: int, scale: float, decimals: int
    ) -> Text:
        bar = bars([low(candidate.sampled_probability)], [candidate.probability], room, scale)[0]
        drawn = bar.rstrip()
        solid = drawn.rstrip("░")
        style = "bar" if best else "text"
        return self.text(
            (f"{candidate.rank + 1:>2} ", "faint"),
            ("◆" if best else " ", "bar"),
            (fit(label(candidate.piece), token) + " ", style),
            (solid, "bar"),
            (drawn[len(solid) :], "ghost"),
            (" " * (room - len(drawn)), "text"),
            (f"{percent(low(candidate.sampled_probability), decimals):>{figure}}", style),
        )


@dataclass(frozen=True, slots=True)
class SideB:
    """What B is."""

    choice: ModelChoice
    sampler: Sampler | None = None
    """None for that of the walk."""
    prompt: str | None = None
    """None for the tokens of the walk."""


class CompareScreen(Screen[SideB | None]):
    """Two charts. Keys choose what B is; B follows the walk, or its own prompt.

    It answers with what B was at last; None if it was never chosen.
    """

    BINDINGS = [
        Binding("escape,q,c", "leave", "close", key_display="esc"),
        Binding("left,h", "travel(-1)", "go", key_display="←→"),
        Binding("right,l", "travel(1)", "go forward", show=False),
        Binding("space", "step", "step"),
        Binding("m", "model", "model B"),
        Binding("d", "dtype", "device B"),
        Binding("i", "prompt", "prompt B"),
        Binding("left_square_bracket", "knob('temperature',-1)", "T of B", key_display="[ ]"),
        Binding("right_square_bracket", "knob('temperature',1)", "hotter", show=False),
        Binding("less_than_sign", "knob('top_k',-1)", "fewer", show=False),
        Binding("greater_than_sign", "knob('top_k',1)", "more", show=False),
        Binding("left_curly_bracket", "knob('top_p',-1)", "narrower", show=False),
        Binding("right_curly_bracket", "knob('top_p',1)", "wider", show=False),
    ]

    def __init__(self, frame: Frame, choice: ModelChoice, sampler: Sampler, b: SideB | None = None) -> None:
        super().__init__()
        self._frame = frame
        self._choice_a, self._sampler_a = choice, sampler
        self.b = b
        """None until its model is chosen."""
        self._side_by_side: Any = None
        self.page = ComparePage(self._question)

    def compose(self) -> ComposeResult:
        yield self.page
        yield KeyFooter()

    def on_mount(self) -> None:
        self.page.show(self._frame)
        if self.b:
            self.host.ask()
        else:
            self.action_model()

    def question(self) -> Question | None:
        """The question for the runner while this screen is open; None until B is chosen."""
        return self.page.question() if self.b else None

    def _question(self) -> Question:
        b = self._known
        choice, sampler, prompt = b.choice, b.sampler or self._sampler_a, b.prompt

        def compare(session: "Session") -> object:
            from core.walk.side_by_side import SideBySide  # noqa: PLC0415

            self._side_by_side = self._side_by_side or SideBySide()  # created and used on the model's thread only
            return self._side_by_side.face(session, choice, sampler, prompt)

        return Question(compare)

    def show(self, frame: Frame) -> None:
        """Draw a frame."""
        self._frame = frame
        self.page.show(frame)

    @property
    def host(self) -> LensHost:
        return self.page.host

    @property
    def _known(self) -> SideB:
        """B; before it is chosen, the walk's own side."""
        return self.b or SideB(self._choice_a)

    def _take(self, b: SideB) -> None:
        self.b = b
        self.host.ask()

    def action_leave(self) -> None:
        self.dismiss(self.b)

    def action_travel(self, by: int) -> None:
        self.host.act(lambda session: session.travel(session.cursor + by))

    def action_step(self) -> None:
        self.host.act(lambda session: session.step())

    def action_model(self) -> None:
        entries = self.host.model_entries()
        self.app.push_screen(ChooseScreen(_("model B"), entries, self._known.choice.name), self._take_model)

    def _take_model(self, name: str | None) -> None:
        if name is not None:
            self._take(replace(self._known, choice=catalog.applicable(self._known.choice, name)))

    def action_dtype(self) -> None:
        choice = self._known.choice
        entries = self.host.device_entries(choice)
        self.app.push_screen(
            ChooseScreen(_("device and dtype of B"), entries, f"{choice.device} {choice.dtype}"), self._take_dtype
        )

    def _take_dtype(self, chosen: str | None) -> None:
        if chosen is not None:
            device, dtype = chosen.split()
            self._take(replace(self._known, choice=replace(self._known.choice, device=device, dtype=dtype)))

    def action_prompt(self) -> None:
        hint = _("A prompt for B only. Leave it empty to give B the tokens of A.")
        self.app.push_screen(LineScreen(_("prompt of B"), hint, self._known.prompt or ""), self._take_prompt)

    def _take_prompt(self, prompt: str | None) -> None:
        if prompt is not None:
            self._take(replace(self._known, prompt=prompt or None))

    def action_knob(self, name: str, by: int) -> None:
        before = self._known.sampler or self._sampler_a
        after = knobs.turned(before, name, by)
        if idle := knobs.idle(before, after, name, by):
            self.host.inform(idle)
        if after != before:
            self._take(replace(self._known, sampler=after))


def _model_text(model: ModelInfo) -> str:
    return one_line(f"{model.label} · {model.device} {model.dtype}")


def _sampler_cell(sampler: Sampler, chart: Chart) -> tuple[str, str]:
    """The sampler, or why it leaves no token to draw, and the style."""
    return (one_line(chart.problem), "hot") if chart.problem else (sampler_text(sampler), "muted")


def _bits(value: Bounded) -> str:
    if isinstance(value, Bounds):
        return f"{value:.4f}"
    if math.isinf(value):
        return "∞"
    return f"{value:.4f}" if value >= 0.001 or value == 0 else f"{value:.1e}"


def _rank(rank: Bounded | None) -> str:
    return _("no token") if rank is None else _("rank {rank:,}").format(rank=rank + 1)
