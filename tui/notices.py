"""Shows lines over the panels: what went wrong, and what was done."""

from collections.abc import Mapping
from typing import Any, Protocol, cast

from textual.app import App
from textual.dom import DOMNode

from core.errors import UserError
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

    def spell(self, problem: UserError | str) -> str:
        """A problem in one line, as a person reads it."""
        return one_line(spell(problem, self.key_of) if isinstance(problem, UserError) else problem)

    def warn(self, problem: UserError | str) -> None:
        """Show what went wrong."""
        self._app.notify(self.spell(problem), severity="warning", markup=False, timeout=PROBLEM_SECONDS)

    def inform(self, text: str) -> None:
        """Show what was done."""
        self._app.notify(one_line(text), markup=False)


class Speller(Protocol):
    """What screens need of the app to show a problem."""

    def spell(self, problem: UserError | str) -> str:
        """The problem in one line, with the keys that are bound at present."""


def spelled(node: DOMNode, problem: UserError | str) -> str:
    """The line of a problem on a screen or panel of the app."""
    return cast(Speller, node.app).spell(problem)
