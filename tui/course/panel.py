"""The panel of a lesson: one step at a time, beside the walk or below it."""

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual import events
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip

from core.errors import UserError
from core.language import _
from tui.course.lesson import Code
from tui.course.page import Line, Page
from tui.course.player import Player
from tui.drawing.painted import PaintedPage
from tui.drawing.text import one_line
from tui.notices import spelled

STYLES = (
    "title",
    "strong",
    "emphasis",
    "link",
    "code",
    "key",
    "value",
    "condition",
    "muted",
    "open",
    "done",
    "wrong",
    "added",
    "removed",
)


class LessonPanel(PaintedPage):
    """Shows the step of a player. A click on an answer gives it, and one on code copies it."""

    COMPONENT_CLASSES = {f"lesson--{name}" for name in STYLES}

    class Answered(Message):
        """An answer of a question was clicked."""

        def __init__(self, answer: int, block: int | None) -> None:
            super().__init__()
            self.answer, self.block = answer, block

    class Copied(Message):
        """Code was clicked."""

        def __init__(self, source: str) -> None:
            super().__init__()
            self.source = source

    def __init__(self) -> None:
        super().__init__(id="lesson")
        self.can_focus = False
        self._player: Player | None = None
        self._problem = ""
        self._lines: list[Line] = []
        self._strips: list[Strip] = []
        self._shown: object = None
        self._gate: int | None = None
        """The gate that was open when the step was drawn last, and how many of its hints were shown."""
        self._hints = 0

    def show(self, player: Player, keys: dict[str, str], problem: str = "") -> None:
        """Draw the step of a player. `keys` holds the labels of the keys that are bound to actions at present."""
        self._player, self._keys, self._problem = player, keys, problem
        opened = (player.lesson.name, player.at, player.opening)
        self._draw()
        gate, last = player.gate(), len(player.step.blocks) - 1
        if opened != self._shown:
            self._shown = opened
            self.scroll_to(y=0, animate=False, immediate=True)
        elif gate != self._gate:
            answered = self._gate if self._gate in player.state.answered else None
            self._reveal(self._gate or 0, last if gate is None else gate if answered is None else answered)
        elif gate is not None and player.state.hints[gate] != self._hints:
            self._reveal(gate, gate)
        self._gate, self._hints = gate, 0 if gate is None else player.state.hints[gate]
        self._entitle()

    def _entitle(self) -> None:
        """Name the lesson in the border, and the keys that act, in fewer words where there is no room."""
        player, keys = self._player, self._keys
        assert player is not None
        self.border_title = Content(self._fitting(*self._titles))
        step = f"{player.at + 1}/{len(player.lesson.steps)}"
        acts = {
            "back": _("{key} back"),
            "onward": _("{key} on"),
            "hint": _("{key} hint") if player.has_hint else "",
            "code": _("{key} code") if player.step.all(Code) else "",
            "more": "" if self.at_end else _("{key} more"),
            "open": _("{key} your walk"),
        }
        named = {id: words.format(key=keys[f"course.{id}"]) for id, words in acts.items() if words}
        parts, texts = {"step": step, **named}, list[str]()
        for least in ("", "open", "step", "back", "code", "hint", "more"):
            parts.pop(least, None)
            texts.append(" · ".join(parts.values()))
        self.border_subtitle = Content(self._fitting(*texts))

    @property
    def _titles(self) -> tuple[str, ...]:
        """What the border says of the lesson: its place and title, or where there is no room its place alone."""
        assert self._player is not None
        lessons, title = self._player.course.lessons, one_line(self._player.lesson.title)
        place = f"{lessons.index(self._player.lesson) + 1}/{len(lessons)}"
        whole = _("lesson {place} · {title}").format(place=place, title=title)
        return whole, f"{place} · {title}", _("lesson {place}").format(place=place)

    @property
    def _room(self) -> int:
        """The cells for a text in the border."""
        return max(1, self.outer_size.width - 6)

    def _fitting(self, *texts: str) -> str:
        """The first text that has room in the border, or the last one."""
        return next((text for text in texts if cell_len(text) <= self._room), texts[-1])

    def _draw(self) -> None:
        width = self.columns
        if self._player is None or width <= 0:
            return
        page = Page(self._player, self._style, lambda id: self._keys.get(id, id), self._spell)
        titles = self._titles
        apart = self._fitting(*titles) == titles[-1]
        self._lines = list(page.lines(width, self._problem, self._player.lesson.title if apart else ""))
        self._strips = [self.strip_of(Text.assemble(line.text), width) for line in self._lines]
        self.virtual_size = Size(width, len(self._strips))
        self.refresh()

    def _reveal(self, first: int, last: int) -> None:
        """Scroll down as far as the end of block `last` needs, but not beyond the beginning of block `first`."""
        begin = min((y for y, line in enumerate(self._lines) if line.block == first), default=0)
        end = max((y for y, line in enumerate(self._lines) if line.block is not None and line.block <= last), default=0)
        top = min(begin, end + 1 - self.scrollable_content_region.height)
        if top > self.top:
            self.scroll_to(y=top, animate=False, immediate=True)

    def _style(self, name: str) -> Style:
        return self.style_of(f"lesson--{name}")

    def _spell(self, problem: UserError) -> str:
        return spelled(self, problem)

    def on_resize(self) -> None:
        self._draw()
        if self._player:
            self._entitle()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        if self.is_attached and self._player:
            self.call_after_refresh(self._draw)

    def render_line(self, y: int) -> Strip:
        number = self.top + y
        if number < len(self._strips):
            return self._strips[number]
        return Strip.blank(self.columns, self.style_of())

    @property
    def at_end(self) -> bool:
        """Whether the last line is visible."""
        return self.top + self.scrollable_content_region.height >= len(self._strips)

    def watch_scroll_y(self, old: float, new: float) -> None:
        super().watch_scroll_y(old, new)
        if self._player:
            self._entitle()

    def sees(self, block: int) -> bool:
        """Whether some of a block is visible."""
        visible = self._lines[self.top : self.top + self.scrollable_content_region.height]
        return any(line.block == block for line in visible)

    def look_at(self, block: int) -> None:
        """Scroll to where a block begins, unless all of it is visible."""
        places = [y for y, line in enumerate(self._lines) if line.block == block]
        if places and places[0] < self.top:
            self.scroll_to(y=places[0], animate=False, immediate=True)
        elif places:
            self._reveal(block, block)

    def turn(self, by: int) -> bool:
        """Scroll by a page; whether there was more to see."""
        if (by > 0 and self.at_end) or (by < 0 and self.top == 0):
            return False
        height = self.scrollable_content_region.height
        self.scroll_to(y=self.top + by * max(1, height - 2), animate=False, immediate=True)
        return True

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        number = self.top + offset.y if offset else -1
        line = self._lines[number] if 0 <= number < len(self._lines) else None
        if line is None or self._player is None:
            return
        block = None if line.block is None else self._player.step.blocks[line.block]
        if line.answer is not None:
            self.post_message(self.Answered(line.answer, line.block))
        elif isinstance(block, Code):
            self.post_message(self.Copied(block.source))
