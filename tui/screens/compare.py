"""Owns the comparison: two models, devices, formats or settings side by side at the same place of the walk."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen

from core.evaluation.values import Comparison
from core.loading import catalog
from core.loading.choice import ModelChoice
from core.loading.info import ModelInfo
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

Pick = Callable[[str, Callable[[str | None], None]], None]


class ComparePage(LensPage[OtherSide]):
    """Both charts, and how far they are apart."""

    NAME = "comparison"
    TITLE = "compare"

    def __init__(self, ask: Callable[[], Question]) -> None:
        super().__init__()
        self._make = ask

    def new_question(self) -> Question:
        return self._make()

    def waiting_text(self) -> str:
        return "loading the other side …" if self.frame.question is self._question else "m chooses the other model"

    def lines(self, answer: OtherSide, width: int, height: int) -> Iterator[Text]:
        snapshot, model = self.frame.snapshot, self.frame.model
        if snapshot is None or model is None:
            return
        found = answer.comparison
        side = (width - 3) // 2
        before = tuple(token.piece for token in snapshot.tokens[max(0, snapshot.cursor - 8) : snapshot.cursor])
        yield self._two((f"A  {_named(model)}", "text"), (f"B  {_named(answer.model)}", "text"), side)
        yield self._two((sampler_text(snapshot.sampler), "muted"), (sampler_text(answer.sampler), "muted"), side)
        here = f"{snapshot.cursor}/{len(snapshot.tokens)} …{run_text(before)}"
        there = f"{answer.cursor}/{answer.length} …{run_text(answer.pieces)}"
        yield self._two((here, "muted"), (there, "muted"), side)
        yield Text()
        yield self._apart(found)
        yield self._favourites(found)
        yield Text()
        yield from self._charts(found, side, max(3, height - 8))

    def _two(self, a: tuple[str, str], b: tuple[str, str], side: int) -> Text:
        return self.text((fit(a[0], side), a[1]), ("   ", "faint"), (fit(b[0], side), b[1]))

    def _apart(self, found: Comparison) -> Text:
        apart = found.divergence
        over = "" if apart.over == "token" else " over the next byte, as the tokens differ"
        return self.text(
            ("KL(A‖B) ", "muted"),
            (_bits(apart.kl_ab_bits), "text"),
            ("   KL(B‖A) ", "muted"),
            (_bits(apart.kl_ba_bits), "text"),
            ("   JS ", "muted"),
            (_bits(apart.js_bits), "text"),
            (" bits", "muted"),
            (over, "hot"),
        )

    def _favourites(self, found: Comparison) -> Text:
        if found.agree:
            return self.text(("same favourite ", "bar"), (label(found.chart_a.candidates[0].piece), "text"))
        return self.text(
            ("other favourites: ", "hot"),
            (f"A's {label(found.chart_a.candidates[0].piece)} is {_rank(found.rank_in_b)} in B", "text"),
            (" · ", "faint"),
            (f"B's {label(found.chart_b.candidates[0].piece)} is {_rank(found.rank_in_a)} in A", "text"),
        )

    def _charts(self, found: Comparison, side: int, rows: int) -> Iterator[Text]:
        a, b = found.chart_a, found.chart_b
        largest = max(max(c.probability, c.sampled_probability) for c in (a.candidates[0], b.candidates[0]))
        scale = next((s for s in (0.25, 0.5) if FLAT < largest <= s), scale_for(largest))
        left, right = (self._column(x, y, side, rows, scale) for x, y in ((a, b), (b, a)))
        for one, other in zip_longest(left, right, fillvalue=Text()):
            one.append(" │ ", self.style_of("lens--faint"))
            one.append_text(other)
            yield one

    def _column(self, chart: Chart, other: Chart, side: int, rows: int, scale: float) -> Iterator[Text]:
        decimals = min(4, decimals_for(chart.candidates[0].probability))
        figure, token = max(8, decimals + 5), min(18, side // 3)
        room = max(3, side - token - figure - 5)
        best = other.candidates[0].piece
        for candidate in chart.candidates[: rows - 1]:
            yield self._row(candidate, candidate.piece == best, token, room, figure, scale, decimals)
        left = chart.vocab_size - min(rows - 1, len(chart.candidates))
        share = max(0.0, 1 - sum(c.probability for c in chart.candidates[: rows - 1]))
        yield self.text(
            (fit(f"    others {left:,}", token + room + 5), "faint"), (f"{percent(share, decimals):>{figure}}", "faint")
        )

    def _row(
        self, candidate: Candidate, best: bool, token: int, room: int, figure: int, scale: float, decimals: int
    ) -> Text:
        bar = bars([candidate.sampled_probability], [candidate.probability], room, scale)[0]
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
            (f"{percent(candidate.probability, decimals):>{figure}}", style),
        )


class CompareScreen(Screen[None]):
    """`A` is the walk; `B` is chosen here and follows it."""

    BINDINGS = [
        Binding("escape,q,c", "leave", "close", key_display="esc"),
        Binding("left,h", "travel(-1)", "go", key_display="←→"),
        Binding("right,l", "travel(1)", "go on", show=False),
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

    def __init__(self, frame: Frame, choice: ModelChoice, sampler: Sampler) -> None:
        super().__init__()
        self._frame = frame
        self._present = choice
        self.choice: ModelChoice | None = None
        self._sampler = sampler
        self._prompt: str | None = None
        self._opposite: Any = None
        self.page = ComparePage(self._question)

    def compose(self) -> ComposeResult:
        yield self.page
        yield KeyFooter()

    def on_mount(self) -> None:
        self.page.show(self._frame)
        self.action_model()

    def question(self) -> Question | None:
        """What to ask of the runner while this is open."""
        return self.page.question() if self.choice else None

    def _question(self) -> Question:
        choice, sampler, prompt = self.choice or self._present, self._sampler, self._prompt

        def face(session: "Session") -> object:
            from core.walk.side_by_side import SideBySide  # noqa: PLC0415

            self._opposite = self._opposite or SideBySide()  # made and used on the model's thread alone
            return self._opposite.face(session, choice, sampler, prompt)

        return Question(face)

    def show(self, frame: Frame) -> None:
        """Draw a frame."""
        self._frame = frame
        self.page.show(frame)

    @property
    def host(self) -> LensHost:
        return self.page.host

    def action_leave(self) -> None:
        self.dismiss(None)

    def action_travel(self, by: int) -> None:
        self.host.act(lambda session: session.travel(session.cursor + by))

    def action_step(self) -> None:
        self.host.act(lambda session: session.step())

    def action_model(self) -> None:
        entries = self.host.model_entries()
        present = (self.choice or self._present).name
        self.app.push_screen(ChooseScreen("the other side", entries, present), self._take_model)

    def _take_model(self, name: str | None) -> None:
        if name is not None:
            self.choice = catalog.applicable(self.choice or self._present, name)
            self.host.ask()

    def action_dtype(self) -> None:
        choice = self.choice or self._present
        entries = self.host.device_entries(choice)
        self.app.push_screen(
            ChooseScreen("its device and dtype", entries, f"{choice.device} {choice.dtype}"), self._take_dtype
        )

    def _take_dtype(self, chosen: str | None) -> None:
        if chosen is not None:
            device, dtype = chosen.split()
            self.choice = replace(self.choice or self._present, device=device, dtype=dtype)
            self.host.ask()

    def action_prompt(self) -> None:
        words = "A prompt for B alone; an empty one lets B read what A reads."
        self.app.push_screen(LineScreen("prompt of B", words, self._prompt or ""), self._take_prompt)

    def _take_prompt(self, prompt: str | None) -> None:
        if prompt is not None:
            self._prompt = prompt or None
            self.host.ask()

    def action_knob(self, name: str, by: int) -> None:
        self._sampler = getattr(knobs, name)(self._sampler, by)
        if self.choice:
            self.host.ask()


def _named(model: ModelInfo) -> str:
    return one_line(f"{model.name} · {model.device} {model.dtype}")


def _bits(value: float) -> str:
    if math.isinf(value):
        return "∞"
    return f"{value:.4f}" if value >= 0.001 or value == 0 else f"{value:.1e}"


def _rank(rank: int | None) -> str:
    return "no token" if rank is None else f"no. {rank + 1:,}"
