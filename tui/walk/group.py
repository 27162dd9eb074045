"""What the groups of actions have in common."""

from collections.abc import Callable
from typing import TypeVar

from textual.screen import Screen

from tui.notices import Notices
from tui.runner import Operation
from tui.walk.panels import PanelsScreen
from tui.walk.state import WalkState

Result = TypeVar("Result")


class ActionGroup:
    """Actions that keys of the walk screen name. Public methods are actions, or are called by another group."""

    def __init__(self, screen: PanelsScreen) -> None:
        self.screen = screen

    @property
    def state(self) -> WalkState:
        """Shared by all groups."""
        return self.screen.state

    @property
    def notices(self) -> Notices:
        """Where to tell a person something."""
        return self.screen.notices

    def submit(self, operation: Operation, *, interrupts: bool = True, instead_of: str | None = None) -> None:
        """Queue an operation on the walk; see `Runner.submit`."""
        self.state.runner.submit(operation, interrupts=interrupts, instead_of=instead_of)

    def open_dialog(self, dialog: Screen[Result], done: Callable[[Result | None], None]) -> None:
        """Show a screen over the panels; `done` receives its result."""
        self.screen.app.push_screen(dialog, done)
