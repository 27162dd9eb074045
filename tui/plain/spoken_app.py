"""The app without a screen: it draws for nobody, and says what has changed."""

from collections.abc import Callable
from typing import Any

from tui.app import TokenwalkApp
from tui.drawing.spoken import spoken
from tui.following.app import FollowApp
from tui.plain.announcing import announcements
from tui.runner import Frame
from tui.walk.showing import visible

SIZE = 120, 40
"""Columns and lines; so narrow that a lens stands in the place of the chart, and keys act on what was read last."""


class Spoken(TokenwalkApp):
    """An app that says its notices and the changes of its walk by `say`, a line each."""

    say: Callable[[str], None]
    listen: Callable[[Frame], None]
    """Called with each frame, after its changes were said."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.notices.can_copy = False

    def show_frame(self, frame: Frame) -> None:
        before = visible(self.state.frame, self.walk.lens)
        super().show_frame(frame)
        for line in announcements(before, visible(self.state.frame, self.walk.lens)):
            self.say(line)
        self.listen(frame)

    def notify(self, message: str, **_options: Any) -> None:  # no title, no seconds
        self.say(spoken(message))


class SpokenWalk(Spoken):
    """`tokenwalk --plain`, and the course."""


class SpokenFollow(Spoken, FollowApp):
    """`tokenwalk follow --plain`."""
