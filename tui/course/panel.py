"""The panel of a lesson: one step at a time, beside the walk or below it."""

from rich.style import Style
from textual import events
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip

from core.errors import UserError
from core.language import _
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
    """Shows the step of a player. A click on an answer gives it."""

    COMPONENT_CLASSES = {f"lesson--{name}" for name in STYLES}

    class Answered(Message):
        """An answer of the open question was clicked."""

        def __init__(self, answer: int) -> None:
            super().__init__()
            self.answer = answer

    def __init__(self) -> None:
        super().__init__(id="lesson")
        self.can_focus = False
        self._player: Player | None = None
        self._problem = ""
        self._lines: list[Line] = []
        self._strips: list[Strip] = []
        self._shown: object = None

    def show(self, player: Player, keys: dict[str, str], problem: str = "") -> None:
        """Draw the step of a player. `keys` holds the labels of the keys that are bound to actions at present."""
        self._player, self._keys, self._problem = player, keys, problem
        lessons = player.course.lessons
        place = f"{lessons.index(player.lesson) + 1}/{len(lessons)}"
        self.border_title = Content(
            _("lesson {place} · {title}").format(place=place, title=one_line(player.lesson.title))
        )
        hints = [
            f"{player.at + 1}/{len(player.lesson.steps)}",
            _("{key} back").format(key=keys["course.back"]),
            _("{key} onward").format(key=keys["course.onward"]),
            *([_("{key} hint").format(key=keys["course.hint"])] if player.has_hint else []),
            _("{key} your walk").format(key=keys["course.open"]),
        ]
        self.border_subtitle = Content(" · ".join(hints))
        opened = (player.lesson.name, player.at, player.opening)
        self._draw()
        if opened != self._shown:
            self._shown = opened
            self.scroll_to(y=0, animate=False, immediate=True)

    def _draw(self) -> None:
        width = self.columns
        if self._player is None or width <= 0:
            return
        page = Page(self._player, self._style, lambda id: self._keys.get(id, id), self._spell)
        self._lines = list(page.lines(width, self._problem))
        self._strips = [self.strip_of(line.text, width) for line in self._lines]
        self.virtual_size = Size(width, len(self._strips))
        self.refresh()

    def _style(self, name: str) -> Style:
        return self.style_of(f"lesson--{name}")

    def _spell(self, problem: UserError) -> str:
        return spelled(self, problem)

    def on_resize(self) -> None:
        self._draw()

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
        if 0 <= number < len(self._lines) and (answer := self._lines[number].answer) is not None:
            self.post_message(self.Answered(answer))
