"""How a token is drawn: a column for each stage of the sampler, then the kept tokens from 0 to 1 with u among them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from rich.text import Text
from textual.content import Content

from core.sampling.explanation import Pick, SamplerLens, SamplerRow
from core.sampling.sampler import ORDERS
from core.sampling.values import SamplerStage, StageName
from tui.drawing.bars import bars
from tui.drawing.text import decimals_for, fit, label, number_in, percent, setting
from tui.lenses.base import LensPage
from tui.runner import Question

SAME_ORDER_IN = {"temperature first": "transformers", "temperature last": "llama.cpp"}
"""A library that applies the stages in this order."""
SHORT: dict[StageName, str] = {"temperature": "T", "top-k": "k", "top-p": "p", "min-p": "min"}
STAGE = 9
"""Width in cells of the column of a stage that cuts."""
FEWEST = 3
"""Rows of tokens at least, however low the panel is."""


class SamplerLensPage(LensPage[SamplerLens]):
    """Changed settings are explained at once, without running the model."""

    NAME = "sampler"
    TITLE = "sampler"
    DESCRIPTION = "Why a token is drawn: temperature, top-k, top-p, min-p, and the number u"
    ORDER = 2
    ALLOW_SELECT: ClassVar[bool] = False

    def new_question(self) -> Question:
        return Question(lambda session: session.explain(), live=True)

    def switch_view(self) -> None:
        if self.answer:
            sampler = self.answer.sampler
            order = next(order for order in ORDERS if order != sampler.order)
            self.host.sample_with(replace(sampler, order=order))

    def draw(self) -> None:
        super().draw()
        if self.answer:
            self.border_title = Content(f"sampler · {self.answer.stages[-1].kept:,} kept")
            self.border_subtitle = Content("[ ] T · < > k · { } p · ( ) min-p · o order")

    def lines(self, answer: SamplerLens, width: int, height: int) -> Iterator[Text]:
        middle = [stage for stage in answer.stages[1:-1] if stage.name != "min-p" or answer.sampler.min_p > 0]
        decimals = min(4, decimals_for(max(row.shares[0] for row in answer.rows)))
        figure = max(8, decimals + 4)
        columns, middle = _fit_columns(width, middle, figure, decimals)
        yield self._head(answer, middle, columns)
        actual = self._actual_draw()
        room = max(FEWEST, height - 8 - bool(actual))
        shown = self._rows_shown(answer, room)
        top = max(max(row.shares[0], row.shares[-1]) for row in answer.rows)
        scale = 1.0 if top > 0.5 else top
        for row in shown:
            yield self._row(answer, row, middle, columns, scale)
        yield self._kept(answer, middle, columns)
        yield self._cut(answer, middle, columns)
        yield Text()
        yield from self._unit_interval(answer, width)
        yield self._alternatives(answer, width)
        yield self._order(answer, width)
        if actual:
            yield actual

    def _rows_shown(self, answer: SamplerLens, room: int) -> Sequence[SamplerRow]:
        """The first rows; the last of them gives way to the drawn token where that comes later."""
        rows = answer.rows[:room]
        drawn = next((row for row in answer.rows if row.id == answer.drawn.id), None)
        return rows if drawn is None or drawn in rows else (*rows[:-1], drawn)

    def _head(self, answer: SamplerLens, middle: Sequence[SamplerStage], columns: "SamplerColumns") -> Text:
        line = f"{fit('token', columns.token)}{fit('  logit', columns.logit)}{'softmax':>{columns.figure}} "
        line += " " * columns.left
        for stage in middle:
            line += f"{self._stage_title(answer, stage):>{columns.of(stage)}}"
        return self.text((f"{line}{'drawn':>{columns.figure}} ", "head"))

    def _stage_title(self, answer: SamplerLens, stage: SamplerStage) -> str:
        sampler = answer.sampler
        value = {
            "temperature": "0" if sampler.greedy else setting(sampler.temperature, 1),
            "top-k": f"{sampler.top_k}" if sampler.top_k else "off",
            "top-p": setting(sampler.top_p, 2) if sampler.top_p < 1 else "off",
            "min-p": setting(sampler.min_p, 2),
        }[stage.name]
        return f"{SHORT[stage.name]} {value}"

    def _row(
        self,
        answer: SamplerLens,
        row: SamplerRow,
        middle: Sequence[SamplerStage],
        columns: "SamplerColumns",
        scale: float,
    ) -> Text:
        figure, decimals = columns.figure, columns.decimals
        raw, final = row.shares[0], row.shares[-1]
        drawn = row.id == answer.drawn.id
        own = "hot" if drawn else "text" if final else "faint"
        line = self.text(
            (("▸" if drawn else " ") + fit(label(row.piece), columns.token - 1), own),
            (number_in(row.logit, 7) if columns.logit else "", "muted"),
            (f"{percent(raw, decimals):>{figure}}", "muted" if final else "faint"),
            (" " + _bar(raw, columns.left, scale), "ghost"),
        )
        was_cut = False
        for stage in middle:
            width, share = columns.of(stage), row.shares[answer.stages.index(stage)]
            if was_cut:
                words = ""
            elif row.cut_by == stage.name:
                words, was_cut = "cut", True
            elif stage.name == "temperature":
                words = percent(share, decimals)
            else:
                words = "·"
            line.append(f"{words:>{width}}", self.style_of("lens--hot" if words == "cut" else f"lens--{own}"))
        line.append(f"{percent(final, decimals) if final else '–':>{figure}} ", self.style_of(f"lens--{own}"))
        line.append(_bar(final, columns.right, scale), self.style_of("lens--hot" if drawn else "lens--bar"))
        return line

    def _kept(self, answer: SamplerLens, middle: Sequence[SamplerStage], columns: "SamplerColumns") -> Text:
        line = fit(" kept", columns.token + columns.logit) + f"{answer.stages[0].kept:>{columns.figure},} "
        line += " " * columns.left
        for stage in middle:
            line += f"{stage.kept:>{columns.of(stage)},}"
        return self.text((f"{line}{answer.stages[-1].kept:>{columns.figure},}", "muted"))

    def _cut(self, answer: SamplerLens, middle: Sequence[SamplerStage], columns: "SamplerColumns") -> Text:
        masses = {cut.name: cut.mass for cut in answer.cuts if cut.count}
        line = fit(" mass cut", columns.token + columns.logit) + " " * (columns.figure + 1 + columns.left)
        for stage in middle:
            mass = masses.get(stage.name)
            line += f"{'' if mass is None else percent(mass, 2):>{columns.of(stage)}}"
        return self.text((line, "muted"))

    def _unit_interval(self, answer: SamplerLens, width: int) -> Iterator[Text]:
        """The intervals of the kept tokens from 0 to 1, and a mark where u falls among them."""
        edge = 0  # cells that are filled
        line = Text()
        pieces = [(row.piece, row.interval) for row in answer.rows if row.interval[1] > row.interval[0]]
        for number, (piece, (_, end)) in enumerate(pieces):
            until = min(width, round(end * width))
            room = until - edge
            if room <= 0:
                continue
            name = label(piece)
            words = fit(f" {name}", room) if cell_len(name) + 2 <= room else " " * room
            style = "drawn" if piece == answer.drawn.piece else ("even", "odd")[number % 2]
            line.append(words, self.style_of(f"lens--{style}"))
            edge = until
        if edge < width:
            line.append(fit(" others" if width - edge > 8 else "", width - edge), self.style_of("lens--rest"))
        yield line
        if answer.sampler.greedy:
            yield self.text(("greedy: the likeliest token has probability 1; no u is drawn", "muted"))
            return
        at = min(width - 1, int(answer.u * width))
        drawn = answer.drawn
        low, high = drawn.interval
        words = f"u {answer.u:.4f} draws {label(drawn.piece)} [{low:.4f}, {high:.4f})"
        if at + 2 + cell_len(words) <= width:
            yield self.text((" " * at + "▲ ", "hot"), (words, "text"))
        else:
            words = fit(words, max(0, at - 1)) if cell_len(words) > at - 1 else words
            yield self.text((" " * max(0, at - 1 - cell_len(words)) + words + " ", "text"), ("▲", "hot"))

    def _alternatives(self, answer: SamplerLens, width: int) -> Text:
        """The greedy choice, and what the same u would draw from a uniform distribution."""

        def line(between: str) -> Text:
            return self.text(
                ("greedy ", "muted"),
                (_pick_text(answer.greedy), "text"),
                (between, "muted"),
                (_pick_text(answer.uniform), "text"),
            )

        return _first_fitting(line(" · with equal odds this u would draw "), line(" · equal odds "), width)

    def _order(self, answer: SamplerLens, width: int) -> Text:
        """The order of the stages, and how many tokens the other order keeps (tokens gained and lost)."""
        other, order = answer.other, answer.sampler.order
        change = ""
        if other.only_here or other.only_there:
            change = f" (+{len(other.only_there)} −{len(other.only_here)})"
        keeps = f"{other.stages[-1].kept:,}{change}"

        def line(between: str) -> Text:
            return self.text((f"{order}, as in {SAME_ORDER_IN[order]}", "text"), (f" · {between} {keeps}", "muted"))

        return _first_fitting(line("the other order keeps"), line("other order keeps"), width)

    def _actual_draw(self) -> Text | None:
        """How the token at this position came, where that differs from the draw that is explained."""
        snapshot = self.frame.snapshot
        if snapshot is None or self.answer is None or snapshot.cursor >= len(snapshot.tokens):
            return None
        token = snapshot.tokens[snapshot.cursor]
        if token.origin != "sampled" or token.sampler is None:
            words = "you chose it" if token.origin == "chosen" else "it is part of the prompt"
            return self.text((f"{label(token.piece)} came next: {words}", "muted"))
        if token.id == self.answer.drawn.id:
            return None
        used = token.sampler
        words = (
            "greedy" if used.greedy else f"T {setting(used.temperature, 2)} k {used.top_k or 'off'} p {used.top_p:g}"
        )
        return self.text((f"{label(token.piece)} came next, drawn with {words}", "muted"))


class SamplerColumns(NamedTuple):
    """Widths in cells; 0 for a column that has no room."""

    token: int
    logit: int
    left: int
    """The bar of the probability before the sampler."""
    right: int
    """The bar of the probability after the sampler."""
    figure: int
    decimals: int

    def of(self, stage: SamplerStage) -> int:
        return self.figure if stage.name == "temperature" else STAGE


def _fit_columns(
    width: int, middle: list[SamplerStage], figure: int, decimals: int
) -> tuple[SamplerColumns, list[SamplerStage]]:
    """The columns that fit into `width` cells; bars are dropped first, then logits, long labels and the temperature."""

    def free(token: int, logit: int) -> int:
        stages = sum(figure if stage.name == "temperature" else STAGE for stage in middle)
        return width - token - logit - 2 * figure - 2 - stages

    token, logit = next((each for each in ((14, 7), (14, 0), (9, 0)) if free(*each) >= 0), (9, 0))
    if free(token, logit) < 0:
        middle = [stage for stage in middle if stage.name != "temperature"]
    left = max(0, free(token, logit)) // 2
    return SamplerColumns(token, logit, left, max(0, free(token, logit)) - left, figure, decimals), middle


def _bar(share: float, width: int, scale: float) -> str:
    return bars([share], [0.0], width, scale)[0] if width else ""


def _first_fitting(long: Text, short: Text, width: int) -> Text:
    return long if long.cell_len <= width else short


def _pick_text(pick: Pick) -> str:
    return f"{label(pick.piece)} {percent(pick.probability, min(4, decimals_for(pick.probability)))}"
