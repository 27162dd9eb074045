"""Shows lines over the panels: what went wrong, and what was done."""

from collections.abc import Mapping
from typing import Any, Protocol, cast

from textual.app import App
from textual.dom import DOMNode
from textual.notifications import SeverityLevel

from core.errors import Action, UserError
from core.language import _
from tui.drawing.text import one_line
from tui.wording import keys_at_present, spell

PROBLEM_SECONDS = 8.0
"""How long a problem stays on the screen."""


class Notices:
    """Spells problems with the keys that are bound at present. `remapped` holds a person's own keys, by action id."""

    def __init__(self, app: App[Any], remapped: Mapping[str, str]) -> None:
        self._app = app
        self.remapped = remapped
        self.key_of = keys_at_present(remapped)
        """Gives the label of the key of an action's id."""
        self._times: dict[str, int] = {}
        """How often each line came while it was on the screen."""

    def spell(self, problem: UserError | str) -> str:
        """A problem in one line, as a person reads it."""
        return one_line(spell(problem, self.key_of) if isinstance(problem, UserError) else problem)

    def warn(self, problem: UserError | str) -> None:
        """Show what went wrong."""
        self._show(self.spell(problem), "warning", PROBLEM_SECONDS)

    can_copy = True
    """Whether there is a clipboard."""

    def copy(self, text: str, said: str) -> None:
        """Copy a text to the clipboard, and show what was done."""
        if self.can_copy:
            self._app.copy_to_clipboard(text)
            self.inform(said)
        else:
            self.warn(UserError(_("there is no clipboard here; {save} writes a file"), save=Action("session.save")))

    def inform(self, text: UserError | str) -> None:
        """Show what was done, or why nothing was."""
        self._show(self.spell(text), "information", self._app.NOTIFICATION_TIMEOUT)

    def _show(self, line: str, severity: SeverityLevel, seconds: float) -> None:
        """Show a line. One that is on the screen already is shown anew in its place, with how often it came."""
        shown = {each.message: each for each in self._app._notifications}
        times = self._times.get(line, 0)
        if before := shown.get(_counted(line, times)):
            self._app._unnotify(before)
        self._times[line] = times + 1 if before else 1
        self._app.notify(_counted(line, self._times[line]), severity=severity, markup=False, timeout=seconds)


def _counted(line: str, times: int) -> str:
    """A line that came so often."""
    return line if times < 2 else f"{line} × {times}"


class Speller(Protocol):
    """What screens need of the app to show a problem."""

    def spell(self, problem: UserError | str) -> str:
        """The problem in one line, with the keys that are bound at present."""


def spelled(node: DOMNode, problem: UserError | str) -> str:
    """The line of a problem on a screen or panel of the app."""
    return cast(Speller, node.app).spell(problem)
