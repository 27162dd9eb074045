"""How a token is drawn: a column for each stage of the sampler, then the kept tokens from 0 to 1 with u among them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.binding import Binding

from core.errors import UserError
from core.language import N_, _
from core.sampling.bounds import Bounded, high, low
from core.sampling.explanation import SamplerLens, SamplerRow
from core.sampling.sampler import Sampler
from core.sampling.stages import found
from core.sampling.stages.stage import Stage
from core.sampling.stages.temp import Temperature
from tui import knobs
from tui.dialogs.choose import ChooseScreen, Entry
from tui.dialogs.line import LineScreen
from tui.drawing.bars import bars
from tui.drawing.sampler import sampler_text, stage_heads
from tui.drawing.stage_columns import StageColumns, fit_columns
from tui.drawing.text import count_in, fit, fixed_in, label, number_in, percent_in, within
from tui.lenses.base import KeyWords, LensPage
from tui.reports.sampler import caution, drawn_words, knob_words, pick_words
from tui.runner import Question

FEWEST = 3
"""Rows of tokens at least, however low the panel is."""
WRITTEN = N_(
    "Stages in their order, such as top_k=40,min_p=0.05,temp=0.8; - before one that is off. Or a preset's name."
)
LOW = 24
"""A panel of fewer lines leaves out what can be seen elsewhere."""
AUTHOR = re.compile(r".*?\b\d{4}\b")
"""Who a source is of, and its year."""


class SamplerLensPage(LensPage[SamplerLens]):
    """Changed settings are explained at once, without running the model. `cursor` is the stage that keys act on."""

    NAME = "sampler"
    TITLE = N_("sampler")
    DESCRIPTION = N_("What each sampler stage removes and moves, and where u falls")
    ORDER = 2
    GROUP = N_("Next token")
    ALSO = N_("temperature top-k top-p cut draw why this token")
    KEYS = KeyWords(move=N_("stage"), choose=N_("on or off"), view=N_("move T"), down=N_("knob"), across=N_("turn"))
    ALLOW_SELECT: ClassVar[bool] = False
    BINDINGS: ClassVar = [
        Binding("N", "add", "new", tooltip="Add a stage", show=True),
        Binding("delete,backspace", "remove", "remove", tooltip="Remove the stage", show=True, key_display="del"),
        Binding("ctrl+left", "shift(-1)", "move", tooltip="Apply the stage earlier", show=True, key_display="^←→"),
        Binding("ctrl+right", "shift(1)", "later", tooltip="Apply the stage later", show=False),
        Binding("0", "reset", "reset", tooltip="Give the stage its usual values", show=True),
        Binding("f", "write", "edit", tooltip="Write the stages as a line", show=True),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._knob = 0
        """The knob of the stage that is turned."""

    def new_question(self) -> Question:
        return Question(lambda session: session.explain(), live=True)

    # Acting on the stage under the cursor ----------------------------------------------------------------------------

    @property
    def sampler(self) -> Sampler:
        """The sampler as it was asked for last."""
        return self.host.sampler

    @property
    def stage(self) -> Stage | None:
        """The stage under the cursor; None for a sampler without stages."""
        stages = self.sampler.stages
        self.cursor = max(0, min(self.cursor, len(stages) - 1))
        return stages[self.cursor] if stages else None

    def move(self, by: int) -> None:
        self.go_to(self.cursor + by)

    def go_to(self, number: int) -> None:
        """Put the cursor on a stage."""
        self.cursor, self._knob = number, 0
        self._draw_stages()

    def choose(self, number: int | None = None) -> None:
        """Switch the stage under the cursor, or stage `number`, on or off."""
        if number is not None and number <= len(self.sampler.stages):
            self.cursor, self._knob = number - 1, 0
        if (stage := self.stage) and (number is None or number <= len(self.sampler.stages)):
            self.host.sample_with(self.sampler.with_stage(replace(stage, on=not stage.on)))
            self._draw_stages()

    def adjust(self, down: int, across: int) -> None:
        """Another knob of the stage, or another value of the knob."""
        if stage := self.stage:
            self._knob = max(0, min(self._knob + down, len(stage.knobs()) - 1))
            if across:
                vocab_size = self.frame.model.vocab_size if self.frame.model else None
                turned = stage.turned(self._knob, across, vocab_size)
                if turned == stage:
                    back = "lens.left" if across > 0 else "lens.right"
                    self.host.inform(knobs.at_end(stage, self._knob, across, back))
                else:
                    self.host.sample_with(self.sampler.with_stage(turned))
            self._draw_stages()

    def switch_view(self) -> None:
        """Move the temperature to the other end: behind the cuts as in llama.cpp, or before them as in transformers."""
        names = [stage.NAME for stage in self.sampler.stages]
        if Temperature.NAME in names:
            at, last = names.index(Temperature.NAME), len(names) - 1
            self.host.sample_with(self.sampler.moved(at, last - at if at < last else -last))
            self._draw_stages()

    # The row of stages -----------------------------------------------------------------------------------------------

    def _take(self, sampler: Sampler, at: int) -> None:
        self.host.sample_with(sampler)
        self.go_to(at)

    def action_add(self) -> None:
        """Choose a stage that the sampler does not have; it is added at its usual place."""
        present = {stage.NAME for stage in self.sampler.stages}
        entries = [Entry(name, _(kind.TITLE), _(kind.FORMULA)) for name, kind in found().items() if name not in present]
        self.app.push_screen(ChooseScreen(_("add a stage"), entries, ""), self._add)

    def _add(self, name: str | None) -> None:
        if name is None:
            return
        kind = found()[name]
        if kind.EXAMPLE or not kind.usual().active:
            hint, start = f"{kind.form()} · {_(kind.FORMULA)}", kind.EXAMPLE or f"{name}="
            self.app.push_screen(LineScreen(_("add a stage"), hint, start, check=_one_stage), self._add_written)
        else:
            self._insert(kind.usual())

    def _add_written(self, text: str | None) -> None:
        if text is not None:
            self._insert(_one_stage(text))

    def _insert(self, stage: Stage) -> None:
        sampler = self.sampler.with_stage(stage)
        self._take(sampler, sampler.stages.index(stage))

    def action_remove(self) -> None:
        if self.stage:
            self._take(self.sampler.without(self.cursor), max(0, self.cursor - 1))

    def action_shift(self, by: int) -> None:
        """Apply the stage under the cursor earlier or later."""
        if self.stage:
            self._take(self.sampler.moved(self.cursor, by), self.cursor + by)

    def action_reset(self) -> None:
        """Give the stage under the cursor its usual values; its texts stay."""
        if stage := self.stage:
            usual = {knob.name: knob.usual for knob in stage.knobs() if knob.kind in ("number", "whole")}
            self._take(self.sampler.with_stage(replace(stage, on=True, **usual)), self.cursor)

    def action_write(self) -> None:
        self.app.push_screen(LineScreen("sampler", WRITTEN, str(self.sampler), check=Sampler.read), self._take_written)

    def _take_written(self, text: str | None) -> None:
        if text is not None:
            self._take(Sampler.read(text, self.sampler.seed), self.cursor)

    def _draw_stages(self) -> None:
        if self.answer and self.is_mounted:
            self.draw()

    # Drawing ---------------------------------------------------------------------------------------------------------

    def title_detail(self) -> str:
        return _("{kept:,} kept").format(kept=self.answer.kept) if self.answer else ""

    def draw(self) -> None:
        super().draw()
        if self.answer:
            self.hint(_("↑↓ stage · ⏎ on or off · ⇧←→ turn · ⇧↑↓ knob · P presets"))

    def lines(self, answer: SamplerLens, width: int, height: int) -> Iterator[Text]:
        columns, flat = fit_columns(answer, width, self.cursor), height < LOW
        below = [*self._foot(answer, columns, flat), *self._drawing(answer, width, flat)]
        below += self._under_cursor(answer, width, flat)
        yield from self._heads(answer, columns)
        scale = _scale(answer)
        for row in self._rows_shown(answer, max(FEWEST, height - 2 - len(below))):
            yield self._row(answer, row, columns, scale)
        yield from below

    def _drawing(self, answer: SamplerLens, width: int, flat: bool) -> Iterator[Text]:
        """Where u falls, and what other ways of choosing would give."""
        if not flat:
            yield Text()
        yield from self._unit_interval(answer, width, flat)
        if not flat:
            yield self._alternatives(answer, width)
        if actual := self._actual_draw(answer):
            yield actual
        if not flat:
            yield Text()

    def _rows_shown(self, answer: SamplerLens, room: int) -> Sequence[SamplerRow]:
        """The first rows; the last of them gives way to the drawn token where that comes later."""
        rows = answer.rows[:room]
        drawn = next((row for row in answer.rows if answer.drawn and row.id == answer.drawn.id), None)
        return rows if drawn is None or drawn in rows else (*rows[:-1], drawn)

    def _heads(self, answer: SamplerLens, columns: StageColumns) -> Iterator[Text]:
        """The names of the columns, and below those of the stages their first knobs."""
        score = _("   ln p") if answer.from_logprobs else _("  logit")
        first = fit(_("token"), columns.token) + fit(score, columns.logit) + f"{'softmax':>{columns.figure}} "
        for row, (left, right) in enumerate(((first, _("drawn")), (" " * len(first), ""))):
            marks = (columns.before, columns.after) if not row else (" " * len(columns.before),) * 2
            line = self.text((left + " " * columns.left, "head"), (marks[0], "faint"))
            for number in columns.shown:
                stage = answer.stages[number].stage
                style = "cursor" if number == self.cursor else "head" if self._acts(answer, number) else "faint"
                line.append(" ", self.style_of("lens--head"))
                line.append(stage_heads(stage, columns.stage - 1)[row], self.style_of(f"lens--{style}"))
            line.append_text(self.text((marks[1], "faint"), (f"{right:>{columns.figure}} ", "head")))
            yield line

    def _acts(self, answer: SamplerLens, number: int) -> bool:
        """Whether a stage is active, and more than one token reaches it."""
        return answer.stages[number].stage.active and not (number and answer.stages[number - 1].kept == 1)

    def _row(self, answer: SamplerLens, row: SamplerRow, columns: StageColumns, scale: float) -> Text:
        raw, final = row.shares[0], row.shares[-1] if not answer.problem else 0.0
        drawn = answer.drawn is not None and row.id == answer.drawn.id
        room = columns.figure - 1
        own = "hot" if drawn else "text" if final else "faint"
        line = self.text(
            (("▸" if drawn else " ") + fit(label(row.piece), columns.token - 1), own),
            (number_in(row.logit, 7) if columns.logit else "", "muted"),
            (f"{percent_in(raw, columns.decimals, room):>{columns.figure}}", "muted" if final else "faint"),
            (" " + _bar(raw, columns.left, scale), "ghost"),
            (" " * len(columns.before), "faint"),
        )
        for number in columns.shown:
            words, style = self._cell(answer, row, number, columns.decimals, columns.stage - 1)
            line.append(f"{words:>{columns.stage}}", self.style_of(f"lens--{style or own}"))
        words = percent_in(final, columns.decimals, room) if final else "–"
        line.append(f"{' ' * len(columns.after)}{words:>{columns.figure}} ", self.style_of(f"lens--{own}"))
        line.append(_bar(final, columns.right, scale), self.style_of("lens--hot" if drawn else "lens--bar"))
        return line

    def _cell(self, answer: SamplerLens, row: SamplerRow, number: int, decimals: int, room: int) -> tuple[str, str]:
        """What a stage did to a token, and the style of its words; no style for that of the row."""
        effect = answer.stages[number]
        if row.cut_by is not None and row.cut_by <= number:
            return (_("cut"), "hot") if row.cut_by == number else ("", "")
        if not effect.stage.active:
            return "", "faint"
        moves = high(effect.moved) > low(effect.removed_mass) + 1e-6
        return (percent_in(row.shares[number + 1], decimals, room) if moves else "·"), ""

    def _foot(self, answer: SamplerLens, columns: StageColumns, flat: bool) -> Iterator[Text]:
        """What is left after each stage, the mass it removed, how far it moved the rest, and the entropy."""
        size = len(answer.rows) + answer.tail.count

        def line(name: str, first: str, cells: Sequence[str], last: str) -> Text:
            words = fit(f" {name}", columns.token + columns.logit) + f"{first:>{columns.figure}} " + " " * columns.left
            words += " " * len(columns.before)
            words += "".join(f"{cells[number]:>{columns.stage}}" for number in columns.shown)
            return self.text((f"{words}{' ' * len(columns.after)}{last:>{columns.figure}}", "muted"))

        effects, bits = answer.stages, [fixed_in(entropy, 2, columns.stage - 1) for entropy in answer.entropies]
        room = columns.stage - 1
        yield line(_("kept"), f"{size:,}", [count_in(each.kept, room) for each in effects], count_in(answer.kept, room))
        if not flat:
            cells = [percent_in(each.removed_mass, 2, room) if high(each.removed) else "" for each in effects]
            yield line(_("removed"), "", cells, "")
        yield line(
            _("moved"), "", [percent_in(each.moved, 2, room) if high(each.moved) > 0 else "" for each in effects], ""
        )
        if not flat:
            yield line(_("H bits"), bits[0], bits[1:], bits[-1])

    def _unit_interval(self, answer: SamplerLens, width: int, flat: bool) -> Iterator[Text]:
        """The intervals of the kept tokens from 0 to 1, and a mark where u falls among them."""
        if answer.drawn is None:
            yield self.text((fit(drawn_words(answer), width), "hot"))
            yield Text()
            return
        edge = 0  # cells that are filled
        line = Text()
        drawable = sorted((row for row in answer.rows if row.interval[1] > row.interval[0]), key=lambda r: r.interval)
        for number, row in enumerate(drawable):
            start, until = round(row.interval[0] * width), min(width, round(row.interval[1] * width))
            if start > edge:  # tokens that are not listed
                line.append(" " * (start - edge), self.style_of("lens--rest"))
                edge = start
            room = until - edge
            if room <= 0:
                continue
            name = label(row.piece)
            words = fit(f" {name}", room) if cell_len(name) + 2 <= room else " " * room
            style = "drawn" if row.id == answer.drawn.id else ("even", "odd")[number % 2]
            line.append(words, self.style_of(f"lens--{style}"))
            edge = until
        if edge < width:
            line.append(fit(_(" others") if width - edge > 8 else "", width - edge), self.style_of("lens--rest"))
        yield line
        yield from self._mark(answer, width, flat)

    def _mark(self, answer: SamplerLens, width: int, flat: bool) -> Iterator[Text]:
        """Where u falls, with the draw in words on the side that has room, else below; cut in a flat panel."""
        words = drawn_words(answer)
        at = min(width - 1, int(answer.u * width))
        if answer.sampler.greedy:
            yield self.text((words, "muted"))
        elif at + 2 + cell_len(words) <= width:
            yield self.text((" " * at + "▲ ", "hot"), (words, "text"))
        elif flat or cell_len(words) < at:
            yield self.text((within(words, max(0, at - 1)).rjust(max(0, at - 1)) + " ", "text"), ("▲", "hot"))
        else:
            yield self.text((" " * at + "▲", "hot"))
            yield from self.folded(width, (words, "text"))

    def _alternatives(self, answer: SamplerLens, width: int) -> Text:
        """The greedy choice, and what the same u would draw from a uniform distribution."""

        def line(between: str) -> Text:
            return self.text(
                (_("greedy "), "muted"),
                (pick_words(answer.greedy), "text"),
                *(((between, "muted"), (pick_words(answer.uniform), "text")) if answer.uniform else ()),
            )

        long = line(_(" · with equal odds this u would draw "))
        return long if long.cell_len <= width else line(_(" · equal odds "))

    def _under_cursor(self, answer: SamplerLens, width: int, flat: bool) -> Iterator[Text]:
        """The stage under the cursor: its knobs, its formula and its source."""
        stage = self.stage
        if stage is None:
            yield self.text((_("no stages: every token is drawn with the model's own probability"), "muted"))
            return
        line = self.text((f"{self.cursor + 1} {_(stage.TITLE)}", "text"), ("" if stage.on else _(" off"), "hot"))
        for number, words in enumerate(knob_words(stage)):
            line.append(" · ", self.style_of("lens--faint"))
            line.append(words, self.style_of("lens--cursor" if number == self._knob else "lens--text"))
        if stage.NAME == "xtc" and stage.active:
            line.append(_(" · drawn chance {chance:.4f}").format(chance=answer.chance), self.style_of("lens--muted"))
        if words := caution(answer, self.cursor):
            line.append(f" · {words}", self.style_of("lens--hot"))
        yield line
        if flat:
            words = f"{_(stage.FORMULA)} · {stage.SOURCE}"
            if cell_len(words) > width and (author := AUTHOR.match(stage.SOURCE)):
                words = f"{_(stage.FORMULA)} · {author[0]}"
            yield self.text((fit(words, width), "muted"))
        else:
            yield from self.folded(width, (_(stage.FORMULA), "text"))
            yield from self.folded(width, (stage.SOURCE, "muted"))

    def _actual_draw(self, answer: SamplerLens) -> Text | None:
        """How the token at this position came, where that differs from the draw that is explained."""
        snapshot = self.frame.snapshot
        if snapshot is None or snapshot.cursor >= len(snapshot.tokens):
            return None
        token = snapshot.tokens[snapshot.cursor]
        if token.origin != "sampled" or token.sampler is None:
            words = _("you chose it") if token.origin == "chosen" else _("it is part of the prompt")
            return self.text((_("{token} came next: {words}").format(token=label(token.piece), words=words), "muted"))
        if answer.drawn and token.id == answer.drawn.id:
            return None
        return self.text(
            (
                _("{token} came next, drawn with {sampler}").format(
                    token=label(token.piece), sampler=sampler_text(token.sampler)
                ),
                "muted",
            )
        )


def _one_stage(text: str) -> Stage:
    """The one stage of a text. Raises `UserError` for another number of them."""
    stages = Sampler.read(text).stages
    if len(stages) != 1:
        raise UserError(_("that is not one stage; write one, such as top_k=40"))
    return stages[0]


def _scale(answer: SamplerLens) -> float:
    """The probability of a full bar."""
    top = max(max(high(row.shares[0]), high(row.shares[-1])) for row in answer.rows)
    return 1.0 if top > 0.5 else top


def _bar(share: Bounded, width: int, scale: float) -> str:
    return bars([low(share)], [0.0], width, scale)[0] if width else ""
