"""Actions that add, take back and look at tokens."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from core.errors import Action, UserError
from core.generation import stop_conditions
from core.generation.stop_conditions import FORMS
from core.generation.token import Token
from core.language import _
from core.loading import catalog, ladder
from core.loading.checkpoints import folders
from core.progress import Progress
from core.search import settings as search_settings
from core.walk.values import Forest
from tui.dialogs.line import LineScreen
from tui.walk.group import ActionGroup
from tui.walk.panels import PanelsScreen

if TYPE_CHECKING:
    from core.walk.session import Session

UNTIL_LIMIT = 500
"""Tokens after which a generation with a stop condition ends in any case."""


class Walking(ActionGroup):
    """Steps, runs, and moves along the path."""

    def __init__(self, screen: PanelsScreen, show: Callable[[str], object]) -> None:
        super().__init__(screen)
        self._show = show
        self._plan = "beam 4; length 12"
        self._drafts: dict[str, str] = {}
        """What was written for a draft last, by the name of the model."""
        self._stop_conditions = "entropy > 4; text '.'"

    def step(self) -> None:
        """Sample a token; while tokens are generated, pause instead."""
        if not self._pause():
            self.submit(lambda session: session.step())

    def generate(self) -> None:
        """Sample `count` tokens, or pause."""
        if not self._pause():
            count = self.state.count
            self._expect_generation()
            self.submit(lambda session: run_of(session, count))

    def run_until(self) -> None:
        """Ask for stop conditions, then sample until one of them holds."""
        text = _("Generate until one of these holds, separated by ; : {forms}.").format(forms=_(FORMS))
        check = lambda line: stop_conditions.parse(stop_conditions.parts(line))  # noqa: E731
        dialog = LineScreen(_("run until"), text, self._stop_conditions, check=check)
        self.open_dialog(dialog, self._generate_until)

    def _generate_until(self, line: str | None) -> None:
        if line is not None:
            self._stop_conditions, conditions = line, stop_conditions.parse(stop_conditions.parts(line))
            count = conditions.limit or UNTIL_LIMIT
            self._expect_generation()
            self.submit(lambda session: session.generating(count, conditions))

    def search(self) -> None:
        """Ask what to search for, then search at the cursor, in the branches; while a search runs, end it instead."""
        answer = self.state.frame.answer
        if isinstance(answer, Forest) and answer.search and not answer.search.state.reason:
            self.state.runner.pause()
            return
        text = _("Search for likely continuations. Write {forms}. The key again ends a search.").format(
            forms=_(search_settings.FORMS)
        )
        self.open_dialog(LineScreen(_("search"), text, self._plan, check=search_settings.parse), self._search_for)

    def _search_for(self, line: str | None) -> None:
        if line is not None:
            self._plan, plan = line, search_settings.parse(line)
            self._show("branches")
            self.submit(lambda session: session.searches.search(plan))

    def stop(self) -> None:
        """Cancel the loading of a model, or end a run; where there is none, go from a lens back to the chart."""
        if self.state.frame.activity == "loading":
            self.state.runner.cancel_loading()
        elif self.state.frame.activity == "generating" or self.state.frame.waiting is not None:
            self.state.runner.pause()
        elif self.screen.lens is not self.screen.candidates:
            self._show("candidates")

    def draft(self) -> None:
        """Ask for a draft model and the proposals of a round, then generate with it; or pause."""
        if not self._pause():
            text = _("A smaller model with the same tokens, and how many tokens it proposes in a round.")
            name = self.state.choice.name
            line = self._drafts.get(name, f"{likely_draft(name)} 4")
            self.open_dialog(LineScreen(_("draft"), text, line, check=draft_line), self._generate_with_draft)

    def _generate_with_draft(self, line: str | None) -> None:
        if line is not None:
            self._drafts[self.state.choice.name] = line
            (name, proposals), count = draft_line(line), self.state.count
            self._show("draft")
            self._expect_generation()
            self.submit(lambda session: session.drafts.generate(name, proposals, count))

    def _pause(self) -> bool:
        generating = self.state.frame.activity == "generating"
        if generating:
            self.state.runner.pause()
        return generating

    def _expect_generation(self) -> None:
        """Let the next key pause, even if it comes before the first frame of the generation."""
        self.state.frame = replace(self.state.frame, activity="generating")

    def travel(self, by: int) -> None:
        """Look at another token of the path."""
        self.submit(lambda session: session.travel(session.cursor + by))

    def travel_to(self, position: int) -> None:
        """Look at the distribution after the first `position` tokens."""
        self.submit(lambda session: session.travel(position))

    def travel_home(self) -> None:
        """Look at the first token."""
        self.travel_to(1)

    def travel_end(self) -> None:
        """Look at the last token."""
        self.submit(lambda session: session.travel(len(session.tokens)))

    def take_back(self) -> None:
        """Undo the last change."""
        self.submit(lambda session: session.take_back())

    def redo(self) -> None:
        """Repeat what was undone."""
        self.submit(lambda session: session.redo())

    def redraw(self) -> None:
        """Sample the last token again."""
        self.submit(lambda session: session.redraw())


def run_of(session: "Session", count: int) -> Iterator[Token | Progress]:
    """Up to `count` steps. Raises `UserError` after the end of an answer, where the model would speak for the user."""
    if session.turns.answered:
        raise UserError(
            _("the answer has ended; {write} writes the next message, {step} samples on"),
            write=Action("walk.write"),
            step=Action("walk.step"),
        )
    return session.generating(count)


def likely_draft(name: str) -> str:
    """A draft to propose for a model: a small rung with the same tokens, else the model itself."""
    if catalog.is_rung(name):
        return ladder.NAMES[0]
    return folders.SHIPPED[1] if name in folders.SHIPPED else name


def draft_line(line: str) -> tuple[str, int]:
    """The name and the proposals of a line such as `model2-trained 4`. Raises `UserError` for another form."""
    name, _space, count = line.strip().rpartition(" ")
    if not name:
        name, count = count, "4"
    if not name or not (count.isdecimal() and 1 <= int(count) <= 32):
        raise UserError(
            _("{line!r} is not a model and a number from 1 to 32; write model2-trained 4"), line=line.strip()
        )
    return name.strip(), int(count)
