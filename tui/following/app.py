"""The app of somebody who follows a walk."""

from collections.abc import Iterable
from functools import partial
from typing import cast

from textual.app import SystemCommand
from textual.screen import Screen

from core.errors import UserError
from core.language import _
from core.loading.choice import ModelChoice
from tui.app import TokenwalkApp
from tui.following.runner import FollowingRunner
from tui.following.screen import FollowScreen
from tui.keys import FOLLOW
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

    def new_screen(self, text: str, course: CourseSource) -> FollowScreen:
        return FollowScreen(self.state, self.notices, cast(FollowingRunner, self.runner))

    def _start(self) -> None:
        self.runner.start()

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        for binding in FOLLOW:
            run = partial(self._run_later, binding.action)
            yield SystemCommand(_(binding.tooltip), self.get_key_display(binding), run)
        yield SystemCommand(_("Theme"), _("Choose the colors"), self.action_change_theme)
