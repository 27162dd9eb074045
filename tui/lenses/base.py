"""Owns what all lenses share: a lens looks at the walk from one side, in the place of the next-token chart."""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar, cast

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.content import Content
from textual.geometry import Size
from textual.strip import Strip

from core.errors import UserError
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from tui.drawing.painted import Painted, PaintedPage
from tui.drawing.text import fit, one_line
from tui.runner import Frame, Question, Refusal

if TYPE_CHECKING:
    from core.walk.session import Session
    from tui.screens.choose import Entry

Answer = TypeVar("Answer")
AXIS = 10
"""Cells of a plot's numbers and its axis."""
MEASURE = 76
"""Cells of a sentence's line at most."""
TINTS = 20
"""Steps from the faintest to the strongest ground."""


class Kept:
    """The last answer to a question that depends on little, such as the model alone: given again while that stays."""

    def __init__(self) -> None:
        self._of: tuple[object, ...] = ()
        self._answer: object = None

    def answers(self, of: tuple[object, ...], ask: Callable[[], Iterable[object]]) -> Iterator[object]:
        """What was kept for `of`, or what `ask` gives, of which the last is kept."""
        if self._of != of:
            answer: object = None
            for answer in ask():
                yield answer
            self._of, self._answer = of, answer
        yield self._answer


class Desk(Protocol):
    """What a lens may want of the app. It happens at once, before keys that were typed later act."""

    def act(self, operation: Callable[["Session"], object], *, instead_of: str | None = None) -> None:
        """Let something be done to the walk."""

    def ask(self) -> None:
        """Let what the lens asks now be answered."""

    def sample_with(self, sampler: Sampler) -> None:
        """Let tokens be drawn otherwise."""

    def model_entries(self) -> "list[Entry]":
        """Every model, to choose one."""

    def device_entries(self, choice: ModelChoice) -> "list[Entry]":
        """Every place and number format for a model, to choose one."""

    def spell(self, problem: UserError | str) -> str:
        """A problem in one line, with the keys that are bound at present."""


class Lens(Painted):
    """A view that a person can turn to. A subclass names itself and draws a frame; keys reach it as the verbs below."""

    NAME: ClassVar[str] = ""
    """One word: the widget's id, and what the palette calls it."""
    TITLE: ClassVar[str] = ""
    WORDS: ClassVar[str] = ""
    """What it shows, in a line."""
    ORDER: ClassVar[int] = 0
    """Its place in the round of lenses."""

    @property
    def desk(self) -> Desk:
        """The app, as far as a lens needs it."""
        return cast(Desk, self.app)

    def question(self) -> Question | None:
        """What it wants to know; None where the walk itself is enough."""
        return None

    def show(self, frame: Frame) -> None:
        """Draw a frame."""

    def veil(self, frame: Frame) -> Frame:
        """What the other panels may show while this lens is looked through."""
        return frame

    def move(self, by: int) -> None:
        """`↑ ↓`: go along what is listed."""

    def take(self, place: int | None = None) -> None:
        """`⏎`: do what the place under the cursor, or the n-th, offers."""

    def vary(self, down: int, across: int) -> None:
        """`shift` with arrows: another layer, another head, or whatever the lens has of the kind."""

    def turn(self) -> None:
        """`o`: the other side of the same thing."""


class LensPage(PaintedPage, Lens, Generic[Answer]):
    """A lens whose answer becomes lines of text; `lines` is all that it must say."""

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
        super().__init__(id=self.NAME)
        self.border_title = Content(self.TITLE)
        self.frame = Frame()
        self.answer: Answer | None = None
        self.at = 0
        """The line, of those that can be chosen, under the cursor."""
        self._asked: Question | None = None
        self._drawn: list[Strip | Text] = []
        """The lines; those that were on the screen as strips."""
        self._seen: tuple[object, ...] = ()
        """What of a frame was drawn."""
        self._tints: list[Style] | None = None
        self._first = 0
        """The first row that is shown, where rows move under lines that stay."""

    def lines(self, answer: Answer, width: int, height: int) -> Iterable[Text]:
        """The answer as inert text, for a panel of this size; it scrolls where there are more lines."""
        raise NotImplementedError

    def waiting(self) -> str:
        """What is said until there is an answer."""
        return "loading …" if self.frame.activity == "loading" else "reading …"

    def choices(self) -> int:
        """How many things `↑ ↓` goes along; 0 scrolls instead."""
        return 0

    def ask(self) -> Question:
        """The question as it is now."""
        raise NotImplementedError

    def question(self) -> Question | None:
        self._asked = self.ask()
        return self._asked

    def asks(self) -> None:
        """Let what is asked now be answered."""
        self.desk.ask()

    def show(self, frame: Frame) -> None:
        self.frame = frame
        if frame.question is self._asked:
            if isinstance(frame.answer, Refusal):
                self.answer = None
            elif frame.answer is not None:
                self.answer = frame.answer  # type: ignore[assignment]  # what was asked is what comes
        before, self._seen = self._seen, (self.answer, frame.answer, frame.progress)
        if len(before) != len(self._seen) or any(a is not b for a, b in zip(before, self._seen, strict=True)):
            self.draw()

    def move(self, by: int) -> None:
        if self.choices():
            self.at = max(0, min(self.at + by, self.choices() - 1))
            self.draw()
            self.follow()
        else:
            self.scroll_relative(y=by, animate=False, immediate=True)

    def on_resize(self) -> None:
        self.draw()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._tints = None
        if self.is_mounted:
            self.draw()

    # Painting --------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Lay the lines out anew."""
        if not self.size:
            return
        width = self.columns
        self._drawn = list(self._texts(width))
        self.virtual_size = Size(width, len(self._drawn))
        self.refresh()

    def _texts(self, width: int) -> Sequence[Text]:
        refused = self.frame.answer if self.frame.question is self._asked else None
        if isinstance(refused, Refusal):
            return self.said(self.desk.spell(refused.problem), "muted", width)
        if self.answer is None:
            progress = self.frame.progress
            done = f" {progress.done:,}/{progress.total:,}" if progress else ""
            return [Text(self.waiting() + done, self.look("lens--faint"))]
        return list(self.lines(self.answer, width, self.scrollable_content_region.height))

    def _strip(self, text: Text, width: int) -> Strip:
        text.no_wrap, text.end, text.style = True, "", self.look()
        return Strip(text.render(self.app.console)).adjust_cell_length(width, self.look()).simplify()

    def render_line(self, y: int) -> Strip:
        number = self.top + y
        if number >= len(self._drawn):
            return Strip.blank(self.columns, self.look())
        line = self._drawn[number]
        if isinstance(line, Text):
            line = self._drawn[number] = self._strip(line, self.columns)
        return line

    def tint(self, share: float) -> Style:
        """A ground, the stronger the larger a share of 1, and ink that can be read on it."""
        if self._tints is None:
            ground, bar = self.background_colors[1], self.get_component_styles("lens--bar").color
            grounds = [ground.blend(bar, 0.07 + 0.83 * level / TINTS) for level in range(TINTS + 1)]
            ink = self.get_component_styles("lens--text").color
            self._tints = [
                Style(color=(ink if level < TINTS / 2 else ground).rich_color, bgcolor=tint.rich_color)
                for level, tint in enumerate(grounds)
            ]
        return self._tints[round(TINTS * max(0.0, min(share, 1.0)))]

    def window(self, count: int, at: int, room: int) -> range:
        """Those of `count` rows that `room` lines show, moved as little as keeps row `at` among them."""
        room = max(1, room)
        self._first = max(0, min(max(self._first, at - room + 1), at, count - room))
        return range(self._first, min(count, self._first + room))

    # Words -----------------------------------------------------------------------------------------------------------

    def text(self, *parts: tuple[str, str | Style]) -> Text:
        """A line of pieces, each in one of the styles of lenses, `("42 %", "muted")`, or in one of its own."""
        line = Text()
        for words, style in parts:
            line.append(words, self.look(f"lens--{style}") if isinstance(style, str) else style)
        return line

    def said(self, words: str, style: str, width: int) -> list[Text]:
        """A sentence in as many lines as it needs."""
        lines = textwrap.wrap(one_line(words), max(10, min(width, MEASURE)))
        return [self.text((line, style)) for line in lines]

    def row(self, chosen: bool, width: int, *parts: tuple[str, str | Style]) -> Text:
        """A line that can be chosen; the chosen one is marked."""
        line = self.text(*parts)
        if chosen:
            line.append(fit("", max(0, width - line.cell_len)))
            ground = self.look("lens--cursor")
            line.stylize(Style(bgcolor=ground.bgcolor, bold=ground.bold))
        return line

    def plot(self, drawn: Sequence[str], high: str, low: str, at: int | None = None) -> Iterator[Text]:
        """A curve beside its axis, which ends at `high` and `low`; column `at` is marked."""
        for number, line in enumerate(drawn):
            mark = high if not number else low if number == len(drawn) - 1 else ""
            axis = ((f"{fit(mark.rjust(AXIS - 2), AXIS - 2)} ", "muted"), ("┤" if mark else "│", "faint"))
            if at is None or not 0 <= at < len(line):
                yield self.text(*axis, (line, "bar"))
            else:
                crossed = "╎" if line[at] in " \u2800" else line[at]
                yield self.text(*axis, (line[:at], "bar"), (crossed, "hot"), (line[at + 1 :], "bar"))

    def under(self, words: str, across: int, at: int) -> Text:
        """What the marked column of a plot stands for."""
        left = max(0, min(at - cell_len(words) // 2, across - cell_len(words)))
        return self.text((" " * (AXIS + left), "text"), (words, "hot"))
