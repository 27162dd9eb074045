"""The app without a screen: it draws for nobody, and says what has changed."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rich.console import RenderableType
from textual._compositor import Compositor
from textual.screen import Screen

from tui.app import TokenwalkApp
from tui.drawing.spoken import spoken
from tui.following.app import FollowApp
from tui.plain.announcing import announcements
from tui.runner import Frame
from tui.walk.showing import visible

SIZE = 120, 40
"""Columns and lines; so narrow that a lens stands in the place of the chart, and keys act on what was read last."""
WIDGETS = 1.0
"""Seconds to wait for widgets at most."""


class Unseen(Compositor):
    """Places widgets, and draws them for a picture alone."""

    def render_update(
        self, full: bool = False, screen_stack: list[Screen[Any]] | None = None, simplify: bool = False
    ) -> RenderableType | None:
        if full:
            return super().render_update(full, screen_stack, simplify)
        self._dirty_regions.clear()
        return None


class Spoken(TokenwalkApp):
    """An app that says its notices and the changes of its walk by `say`, a line each."""

    say: Callable[[str], None]
    listen: Callable[[Frame], None]
    """Called with each frame, after its changes were said."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.notices.can_copy = False
        self.announced: list[str] = []
        """What was said of frames since the last command was answered."""

    def get_default_screen(self) -> Screen[Any]:
        return unseen(super().get_default_screen())

    def push_screen(self, screen: Any, *arguments: Any, **options: Any) -> Any:
        return super().push_screen(unseen(screen), *arguments, **options)

    def show_frame(self, frame: Frame) -> None:
        before = visible(self.state.frame, self.walk.lens)
        super().show_frame(frame)
        for line in announcements(before, visible(self.state.frame, self.walk.lens)):
            self.announced.append(line)
            self.say(line)
        self.listen(frame)

    async def delivered(self) -> None:
        """Wait until the app and each widget have acted on the messages that they had, and the screen is drawn."""
        answers = asyncio.Semaphore(0)
        pumps = (self, *self.screen.walk_children(with_self=True))
        asked = [each for each in pumps if each.call_later(answers.release)]
        if self.screen.call_after_refresh(answers.release):
            asked.append(self.screen)
        with suppress(TimeoutError):  # a widget that is removed meanwhile, with its dialog, never answers
            async with asyncio.timeout(WIDGETS):
                for _each in asked:
                    await answers.acquire()

    def notify(self, message: str, **_options: Any) -> None:  # no title, no seconds
        self.say(spoken(message))


def unseen(screen: Screen[Any]) -> Screen[Any]:
    """A screen, before it is shown, that draws pictures alone."""
    screen._compositor = Unseen()
    return screen


class SpokenWalk(Spoken):
    """`tokenwalk --plain`, and the course."""


class SpokenFollow(Spoken, FollowApp):
    """`tokenwalk follow --plain`."""
