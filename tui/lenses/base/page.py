"""A lens whose answer becomes lines of styled text, with a cursor, plots and tinted cells."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Generic, TypeVar

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual import events
from textual.geometry import Size
from textual.strip import Strip

from core.errors import UserError
from core.language import _
from tui.drawing.painted import PaintedPage
from tui.drawing.text import fit, one_line
from tui.drawing.wrap import folded
from tui.lenses.base.lens import Lens
from tui.runner import Frame, Question, Refusal
from tui.themes import clearer

Answer = TypeVar("Answer")
AXIS = 10
"""Cells of a plot's axis with its numbers."""
LONGEST_LINE = 76
"""Cells of a line of a paragraph at most."""
MARK = "›"
"""Stands before the row under the cursor."""
ROW, COLUMN = "row", "column"
"""What the style of a cell says of a click on it."""
TINTS = 20
"""Steps from the weakest to the strongest background."""


class LensPage(PaintedPage, Lens, Generic[Answer]):
    """A lens of text lines. A subclass implements `new_question` and `lines`."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "lens--head",
        "lens--text",
        "lens--muted",
        "lens--faint",
        "lens--bar",
        "lens--ghost",
        "lens--hot",
        "lens--cursor",
        "lens--even",
        "lens--odd",
        "lens--drawn",
        "lens--rest",
    }

    def __init__(self) -> None:
        super().__init__(name=self.NAME)
        self.entitle()
        self.frame = Frame()
        self.answer: Answer | None = None
        self.cursor = 0
        """The index of the row under the cursor, among the rows that can be chosen."""
        self._question: Question | None = None
        """The question that was asked last."""
        self._drawn: list[Strip | Text] = []
        """The lines; a line that was on the screen is a strip."""
        self._drawn_parts: tuple[object, ...] = ()
        """The parts of the last frame that were drawn."""
        self._tints: list[Style] | None = None
        self._first_row = 0
        """The first visible row, where rows scroll under lines that stay."""

    def new_question(self) -> Question:
        """The question for the present settings of the lens."""
        raise NotImplementedError

    def lines(self, answer: Answer, width: int, height: int) -> Iterable[Text]:
        """The answer as inert text for a panel of `width` × `height` cells; it scrolls where there are more lines."""
        raise NotImplementedError

    def waiting_text(self) -> str:
        """The line that is shown until there is an answer."""
        return _("loading …") if self.frame.activity == "loading" else _("reading …")

    def title_detail(self) -> str:
        """What the border's title says after the name of the lens."""
        return ""

    def choice_count(self) -> int:
        """How many rows `↑ ↓` can choose; with 0 rows they scroll."""
        return 0

    def question(self) -> Question | None:
        self._question = self.new_question()
        return self._question

    def ask_again(self) -> None:
        """Ask the session the present question."""
        self.host.ask()

    def show(self, frame: Frame) -> None:
        self.frame = frame
        if frame.question is self._question:
            if isinstance(frame.answer, Refusal):
                self.answer = None
            elif frame.answer is not None:
                self.answer = frame.answer  # type: ignore[assignment]  # the answer to this lens's own question
        before, self._drawn_parts = self._drawn_parts, (self.answer, frame.answer, frame.progress)
        same = len(before) == len(self._drawn_parts)
        if not same or any(a is not b for a, b in zip(before, self._drawn_parts, strict=True)):
            self.draw()

    def move(self, by: int) -> None:
        self.pointed = False
        if self.choice_count():
            last = self.choice_count() - 1
            self.cursor = max(0, min(min(self.cursor, last) + by, last))
            self.draw()
            self.follow()
        else:
            self.scroll_relative(y=by, animate=False, immediate=True)

    def on_resize(self) -> None:
        self.draw()

    # The mouse -------------------------------------------------------------------------------------------------------

    def on_click(self, event: events.Click) -> None:
        meta = event.style.meta
        if ROW in meta:
            row, column = self.cell_at_cursor()
            self.point(meta[ROW] - row, meta.get(COLUMN, column) - column)

    def cell_at_cursor(self) -> tuple[int, int]:
        """The row and the column that a click is compared with."""
        return max(0, min(self.cursor, self.choice_count() - 1)), 0

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._wheel(event, 1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._wheel(event, -1)

    def _wheel(self, event: events.MouseEvent, by: int) -> None:
        """Move along the rows, where there is nothing to scroll."""
        if self.choice_count() and not self.max_scroll_y:
            self.move(by)
            event.stop()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._tints = None
        if self.is_mounted:
            self.call_next(self.draw)  # Textual tells of it before the component styles are new

    # Painting --------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Build all lines again."""
        if not self.size:
            return
        self.entitle(self.title_detail())
        width = self.columns
        self._drawn = list(self._texts(width))
        self.virtual_size = Size(width, len(self._drawn))
        self.refresh()

    @property
    def _refusal(self) -> Refusal | None:
        """Why its question was not answered."""
        answer = self.frame.answer if self.frame.question is self._question else None
        return answer if isinstance(answer, Refusal) else None

    @property
    def needs(self) -> str:
        problem = self._refusal.problem if self._refusal else None
        return problem.asks if isinstance(problem, UserError) else ""

    def _texts(self, width: int) -> Sequence[Text]:
        if refusal := self._refusal:
            return self.paragraph(self.host.spell(refusal.problem), "muted", width)
        if self.answer is None:
            progress = self.frame.progress
            done = f" {progress.done:,}/{progress.total:,}" if progress else ""
            return [Text(self.waiting_text() + done, self.style_of("lens--faint"))]
        return list(self.lines(self.answer, width, self.scrollable_content_region.height))

    def render_line(self, y: int) -> Strip:
        number = self.top + y
        if number >= len(self._drawn):
            return Strip.blank(self.columns, self.style_of())
        return self._strip(number)

    @property
    def drawing(self) -> object:
        return self._drawn

    def strips(self, first: int, count: int) -> Sequence[Strip]:
        return [self._strip(number) for number in range(first, min(first + count, len(self._drawn)))]

    def _strip(self, number: int) -> Strip:
        line = self._drawn[number]
        if isinstance(line, Text):
            line = self._drawn[number] = self.strip_of(line, self.columns)
        return line

    def tint(self, share: float) -> Style:
        """A background that is stronger for a larger share (0 to 1), and a text color that is readable on it."""
        if self._tints is None:
            ground, bar = self.background_colors[1], self.get_component_styles("lens--bar").color
            grounds = [self.tinted(bar, 0.07 + 0.83 * level / TINTS) for level in range(TINTS + 1)]
            ink = self.get_component_styles("lens--text").color
            self._tints = [
                Style(color=clearer(ink, ground, on=tint).rich_color, bgcolor=tint.rich_color) for tint in grounds
            ]
        return self._tints[round(TINTS * max(0.0, min(share, 1.0)))]

    def visible_rows(self, count: int, cursor: int, room: int) -> range:
        """The rows, of `count`, that `room` lines show; they scroll as little as keeps row `cursor` visible."""
        room = max(1, room)
        self._first_row = max(0, min(max(self._first_row, cursor - room + 1), cursor, count - room))
        return range(self._first_row, min(count, self._first_row + room))

    # Text ------------------------------------------------------------------------------------------------------------

    def text(self, *parts: tuple[str, str | Style]) -> Text:
        """A line of pieces. Each has the name of a component style, `("42 %", "muted")`, or a style of its own."""
        line = Text()
        for words, style in parts:
            line.append(words, self.style_of(f"lens--{style}") if isinstance(style, str) else style)
        return line

    def folded(self, width: int, *parts: tuple[str, str | Style]) -> list[Text]:
        """As `text`, wrapped between words into as many lines as it needs."""
        return list(folded(self.text(*parts), width))

    def at_both_ends(self, width: int, left: tuple[str, str], right: tuple[str, str]) -> list[Text]:
        """Two texts at the ends of a line; where one line has no room for both, one below the other."""
        between = width - cell_len(left[0]) - cell_len(right[0])
        if between > 0:
            return [self.text(left, (" " * between, "text"), right)]
        return [*self.folded(width, left), self.text(right)]

    def paragraph(self, words: str, style: str, width: int) -> list[Text]:
        """Text wrapped into as many lines as it needs."""
        lines = textwrap.wrap(one_line(words), max(10, min(width, LONGEST_LINE)))
        return [self.text((line, style)) for line in lines]

    def row(self, chosen: bool, width: int, *parts: tuple[str, str | Style], first: bool = True) -> Text:
        """A line that can be chosen; the chosen one has another background.

        It has a mark where its first cell is free, and it is the `first` line of its row.
        """
        line = self.text(*parts)
        if chosen:
            if first and line.plain.startswith(" "):
                line = Text.assemble((MARK, self.style_of("lens--text")), line[1:])
            line.append(fit("", max(0, width - line.cell_len)))
            ground = self.style_of("lens--cursor")
            line.stylize(Style(bgcolor=ground.bgcolor, bold=ground.bold))
        return line

    def target(self, row: int, line: Text) -> Text:
        """A line of row `row`: a click on any of its cells means that row."""
        line.append(fit("", max(0, self.columns - line.cell_len)))
        line.stylize(Style(meta={ROW: row}))
        return line

    def plot(self, drawn: Sequence[str], high: str, low: str, at: int | None = None) -> Iterator[Text]:
        """The rows of a curve beside an axis from `low` to `high`; column `at` is marked."""
        for number, line in enumerate(drawn):
            mark = high if not number else low if number == len(drawn) - 1 else ""
            axis = ((f"{fit(mark.rjust(AXIS - 2), AXIS - 2)} ", "muted"), ("┤" if mark else "│", "faint"))
            if at is None or not 0 <= at < len(line):
                yield self.text(*axis, (line, "bar"))
            else:
                crossed = "╎" if line[at] in " \u2800" else line[at]
                yield self.text(*axis, (line[:at], "bar"), (crossed, "hot"), (line[at + 1 :], "bar"))

    def plot_caption(self, words: str, columns: int, at: int) -> Text:
        """The line under a plot of `columns` cells, centered under its marked column `at`."""
        left = max(0, min(at - cell_len(words) // 2, columns - cell_len(words)))
        return self.text((" " * (AXIS + left), "text"), (words, "hot"))
