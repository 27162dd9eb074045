"""The stages of one step, from text to text: one row each, with shape, values and Euclidean norm."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from core.language import N_, _
from core.lenses import lens
from tui.dialogs.source import SourceScreen
from tui.drawing.bars import meter
from tui.drawing.parts import part_name
from tui.drawing.text import decimals_for, fit, label, number_in, one_line, percent, within
from tui.lenses.base import KeyWords, LensPage
from tui.runner import Question

if TYPE_CHECKING:
    from core.lenses.flow import Flow, FlowStage

MORE = "… "
"""Stands for the ids before those that are shown."""
ONE_LINE = 100
"""Width in cells from which the values stand beside their stage, not below it."""
NAME, SHAPE, NORM, SHARE = 24, 20, 8, 5
NARROW = 65
"""Width in cells below which names and shapes have less room."""
BATCH = {"B": 5, "T": 8}
"""Sizes of the training batch of the article: 5 sequences of 8 tokens, whose logits are [B, T, V]."""


class FlowLens(LensPage["Flow"]):
    """One row for each stage. A stage can unfold into its parts, and open the source code that computes it."""

    NAME = "flow"
    TITLE = N_("flow")
    DESCRIPTION = N_("Each stage from text to text: shape, values, what it adds")
    ORDER = 11
    GROUP = N_("Inside")
    ALSO = N_("data flow stages shapes tensors forward pass")
    KEYS = KeyWords(move=N_("stage"), choose=N_("source"), view=N_("parts"), across=N_("batch"))

    def __init__(self) -> None:
        super().__init__()
        self._unfolded: set[str] = set()
        """Names of the stages whose parts are shown."""
        self.of_batch = False
        """Whether shapes are those of a training batch, not of this step."""

    def new_question(self) -> Question:
        return Question(lambda session: lens("flow")(session.current_step()))

    def looked_at(self) -> dict[str, int | str]:
        shown = self.shown()
        return {"row": shown[self.cursor].name} if self.cursor < len(shown) else {}

    def choice_count(self) -> int:
        return len(self.shown())

    def choose(self, number: int | None = None) -> None:
        shown = self.shown()
        at = self.cursor if number is None else number - 1
        if self.answer and at < len(shown):
            component = shown[at].component
            source = next(each for each in self.answer.sources if each.component == component)
            self.app.push_screen(SourceScreen(source.where, source.equation, source.code))

    def switch_view(self) -> None:
        """Show or hide the parts of the stage under the cursor."""
        shown = self.shown()
        if self.cursor >= len(shown):
            return
        here = next(n for n in range(self.cursor, -1, -1) if not shown[n].level)
        if self._has_parts(shown[here]):
            self._unfolded ^= {shown[here].name}
            self.cursor = here
            self.draw()
            self.follow()

    def adjust(self, down: int, across: int) -> None:
        """Left and right: the shapes of this step, or of a training batch."""
        self.of_batch = across > 0 if across else self.of_batch
        self.draw()

    def shown(self) -> list["FlowStage"]:
        """The stages, and the parts of the unfolded ones."""
        shown: list[FlowStage] = []
        parent_unfolded = False
        for stage in self.answer.stages if self.answer else ():
            if not stage.level:
                parent_unfolded = stage.name in self._unfolded
            if not stage.level or parent_unfolded:
                shown.append(stage)
        return shown

    def _has_parts(self, stage: "FlowStage") -> bool:
        """Whether a stage has parts."""
        stages = self.answer.stages if self.answer else ()
        at = next(n for n, each in enumerate(stages) if each is stage)
        return at + 1 < len(stages) and stages[at + 1].level > stage.level

    # Painting --------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        self.cursor = max(0, min(self.cursor, self.choice_count() - 1))
        keys = _("↑↓ stage · ⏎ source · o parts")
        batch = _("⇧← this step") if self.of_batch else _("⇧→ shapes of a batch")
        longer = f"{keys} · {batch}"
        self.hint((longer if cell_len(longer) + 4 <= self.outer_size.width else keys) if self.answer else "")
        super().draw()

    def title_detail(self) -> str:
        return (
            _("shapes of a batch of {rows} × {tokens} tokens").format(rows=BATCH["B"], tokens=BATCH["T"])
            if self.of_batch
            else ""
        )

    def current_lines(self) -> tuple[int, int]:
        each = 1 if self.columns >= ONE_LINE else 2
        return (each * self.cursor + 1 if self.cursor else 0), each * self.cursor + each

    def lines(self, answer: "Flow", width: int, height: int) -> Iterator[Text]:
        beside = width >= ONE_LINE
        name, shape = (NAME, SHAPE) if width >= NARROW else (NAME - 5, SHAPE - 3)
        bar = max(3, min(12, width - name - shape - NORM - SHARE - 4))
        adds = _("adds to residual") if bar + SHARE >= 16 else _("adds")
        head = f"{'  ' + _('stage'):<{name}} {_('shape'):<{shape}} {'‖x‖':>{NORM}}  {fit(adds, bar + SHARE)}"
        yield self.text((head + (_("  values of the last position") if beside else ""), "head"))
        for number, stage in enumerate(self.shown()):
            chosen = number == self.cursor
            row = self._row(stage, bar, name, shape)
            used = sum(len(words) for words, _ in row)
            if beside:
                values = self._values(stage, width - used - 2)
                yield self.target(number, self.row(chosen, width, *row, ("  ", "text"), *values))
            else:
                yield self.target(number, self.row(chosen, width, *row))
                below = self.row(chosen, width, ("    ", "text"), *self._values(stage, width - 4), first=False)
                yield self.target(number, below)

    def _row(self, stage: "FlowStage", bar: int, room: int, shape: int) -> list[tuple[str, str]]:
        mark = (
            "   "
            if stage.level
            else "  "
            if not self._has_parts(stage)
            else "▾ "
            if stage.name in self._unfolded
            else "▸ "
        )
        name = mark + part_name(stage.name)
        sizes = BATCH if self.of_batch else {}
        axes = [f"{part_name(axis)}={sizes.get(axis, size):,}" for axis, size in stage.axes]
        norm = "" if stage.norm is None else number_in(stage.norm, NORM)
        row = [
            (fit(name, room), "muted" if stage.level else "text"),
            (" " + fit(" ".join(axes), shape), "muted"),
            (f" {norm:>{NORM}}  ", "muted" if stage.level else "text"),
        ]
        if stage.stream and stage.norm is not None:
            share = stage.norm / stage.stream
            return [*row, (meter(share, bar), "bar"), (f"{share:>{SHARE}.0%}", "text")]
        return [*row, (" " * (bar + SHARE), "text")]

    def _values(self, stage: "FlowStage", room: int) -> Iterator[tuple[str, str]]:
        """As many of the first values as fit into `room` cells, with their tokens; of ids the last; or a text."""
        if stage.text or not stage.values:
            yield fit(f"“{one_line(stage.text)}”", room), "text" if stage.level else "muted"
            return
        cells = [self._cell(stage, number) for number in range(len(stage.values))]
        if stage.name != "ids":
            yield from ((cell, "muted") for cell in _fitting(cells, room))
            return
        last = _fitting(cells[::-1], room)
        if len(last) < dict(stage.axes)["T"]:
            last = [*_fitting(cells[::-1], room - len(MORE)), MORE]
        yield from ((cell, "muted") for cell in reversed(last))

    def _cell(self, stage: "FlowStage", number: int) -> str:
        """A value, with its token where the stage has tokens."""
        value = stage.values[number]
        if stage.name == "probabilities":
            shown = percent(value, decimals_for(stage.values[0]))
        elif isinstance(value, int):
            shown = f"{value}"
        else:
            shown = f"{value:8.4f}" if abs(value) < 10 else number_in(value, 8)
        return f"{within(label(stage.labels[number]), 10)} {shown.strip()}   " if stage.labels else f"{shown} "


def _fitting(cells: Sequence[str], room: int) -> Sequence[str]:
    """As many of the first as fit into `room` cells."""
    ends = accumulate(map(cell_len, cells))
    return [cell for cell, end in zip(cells, ends, strict=True) if end <= room]
