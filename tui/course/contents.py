"""The list of lessons, with what is done of each."""

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from core.language import _
from tui.course.lesson import Lesson
from tui.course.player import Player
from tui.dialogs.modal import Modal
from tui.drawing.cursor_list import CursorList
from tui.drawing.text import fit, one_line


class Contents(Modal[int | None]):
    """`enter` answers with the place of a lesson, from 0; `escape` with None."""

    BINDINGS = [
        Binding("escape,q", "dismiss(None)", "close", show=False),
        Binding("j", "down", "down", show=False),
        Binding("k", "up", "up", show=False),
    ]

    def __init__(self, player: Player) -> None:
        super().__init__()
        self._player = player

    def compose(self) -> ComposeResult:
        lessons = self._player.course.lessons
        done = sum(map(self._player.is_done, lessons))
        with Vertical(classes="dialog", id="contents") as dialog:
            dialog.border_title = Content(_("course · {done}/{count} done").format(done=done, count=len(lessons)))
            dialog.border_subtitle = Content(_("⏎ open · esc close"))
            yield CursorList()

    def _line(self, lesson: Lesson) -> Content:
        known, total = self._player.progress.of(lesson.name), len(lesson.steps)
        done = len(known.done & set(range(total)))
        finished = self._player.is_done(lesson)
        mark, style = ("✓", "$success") if finished else ("▸", "$accent") if done else (" ", "")
        state = f"{done}/{total}" if done and not finished else ""
        minutes = _("{count} min").format(count=lesson.minutes) if lesson.minutes else ""
        room = min(71, int(0.94 * self.app.size.width) - 7) - 7 - 6 - 9
        title = one_line(lesson.title)
        return Content.assemble(
            (f"{mark} ", style),
            (f"{lesson.number:>2}  ", "$text-disabled"),
            (fit(title, max(cell_len("…"), room)), "bold" if not finished else ""),
            (state.rjust(6), "$accent"),
            (minutes.rjust(9), "$text-disabled"),
        )

    def on_mount(self) -> None:
        lessons, found = self._player.course.lessons, self.query_one(CursorList)
        found.fill(Option(self._line(lesson), id=str(at)) for at, lesson in enumerate(lessons))
        found.highlighted = lessons.index(self._player.lesson)

    def on_resize(self) -> None:
        found = self.query_one(CursorList)
        lessons = self._player.course.lessons
        found.fill((Option(self._line(lesson), id=str(at)) for at, lesson in enumerate(lessons)), found.highlighted)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(int(event.option.id or 0))

    def action_down(self) -> None:
        self.query_one(OptionList).action_cursor_down()

    def action_up(self) -> None:
        self.query_one(OptionList).action_cursor_up()
