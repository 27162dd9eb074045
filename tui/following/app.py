"""The app of somebody who follows a walk."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

from textual.filter import ANSIToTruecolor, LineFilter

from core.errors import UserError
from core.loading.choice import ModelChoice
from tui.app import TokenwalkApp
from tui.following.runner import FollowingRunner
from tui.following.screen import FollowScreen
from tui.keys import FOLLOW
from tui.screens.palette import Command
from tui.settings import Settings
from tui.sharing.feed import Feed
from tui.walk.course import CourseSource


class FollowApp(TokenwalkApp):
    """Shows what a feed brings. `choice` is the model that is loaded here on request; None for that of the walk."""

    def __init__(
        self, feed: Feed, choice: ModelChoice | None, settings: Settings, problems: Iterable[UserError | str] = ()
    ) -> None:
        super().__init__(
            settings=settings,
            problems=problems,
            runner=lambda publish, fps: FollowingRunner(feed, choice, publish, fps),
        )
        self.when_painted: Callable[[], None] = lambda: None
        """Called after the first paint."""

    def new_screen(self, text: str, course: CourseSource) -> FollowScreen:
        return FollowScreen(self.state, self.notices, cast(FollowingRunner, self.runner))

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Without the search for colors of the terminal where nothing else is filtered.

        The panels have none, and it takes a tenth of the time of a frame, which all viewers of a machine draw at once.
        """
        filters = super().get_line_filters()
        return () if all(isinstance(each, ANSIToTruecolor) for each in filters) else filters

    def _start(self) -> None:
        self.runner.start()
        self.when_painted()

    def commands(self) -> Iterator[Command]:
        yield from map(self._command, FOLLOW)
        yield self._theme_command()
