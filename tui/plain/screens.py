"""Reads aloud what the app shows: its lens, the screens over the walk, the step of a lesson; or what of it is new."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from textual.screen import Screen
from textual.widgets import OptionList

from core.language import _
from tui.dialogs.notebook import NotebookScreen
from tui.dialogs.source import SourceScreen
from tui.drawing.spoken import formula, spoken
from tui.drawing.text import one_line, prose
from tui.following.mirror import MirrorLens
from tui.following.screen import FollowScreen
from tui.lenses.base import Lens, LensPage
from tui.lenses.base.page import ROW
from tui.lenses.chart import ChartLens
from tui.panels.head_scores import KINDS
from tui.plain import words
from tui.plain.commands import said, screen_keys
from tui.plain.dialogs import entries_of, entry_of, keys_of, question, texts_of, title_of
from tui.plain.lenses import answer_lines, grid_lines, numbered, title
from tui.plain.lesson import lesson_lines
from tui.plain.rows import row_line
from tui.plain.spoken_app import Spoken
from tui.reports.model_details import section_lines
from tui.runner import Frame, Refusal
from tui.screens.compare import CompareScreen
from tui.screens.model_details import ModelDetailsScreen
from tui.screens.patch import PatchScreen
from tui.screens.samplers import SamplersScreen
from tui.screens.steering import SteeringScreen
from tui.screens.train import TrainScreen
from tui.walk.showing import visible

BLANK = re.compile(r"(?<!\S)·(\S+)")
"""A label that begins with a blank, as the teacher's lens draws it."""
PICKING = ("walk.pick_up", "walk.pick_down")
TRAVELLING = ("walk.left", "walk.right", "walk.home", "walk.end")
ADJUSTING = ("lens.turn", "lens.up", "lens.down", "lens.left", "lens.right", "lens.choose")
ASKING = ("question.target", "question.against")
ANSWERING = ("walk.take", "walk.continuations", "walk.search", "walk.draft", *(f"walk.take_{n}" for n in range(1, 10)))
"""After `ADJUSTING` and `ANSWERING` the lens is read where it has changed; after the former else the row under the
cursor, as always after `PICKING`. After `ASKING` the question is read, also where it is the same."""


class Reader:
    """Knows what was read last."""

    def __init__(self, app: Spoken) -> None:
        self._app = app
        self._screen: Screen[Any] = app.walk
        self._lens: Lens = app.walk.lens
        self._kind = self._lens_kind
        self._picked = self._under_cursor()
        """The candidate that was read last, and after how many tokens."""
        self._known: list[str] = []
        """The lines of the lens that were read last."""
        self._known_of_screen: list[str] = []
        """Those of the screen over it."""
        self._lesson: list[str] = []
        self._expected = ""
        """The action of the last key."""

    def expect(self, id: str) -> None:
        """The key of an action comes now."""
        self._expected = id

    @property
    def frame(self) -> Frame:
        """What the panels show."""
        return visible(self._app.state.frame, self._app.walk.lens)

    def spoken(self, lines: Iterable[str]) -> Iterator[str]:
        """Lines of the app as they are said."""
        return filter(None, map(spoken, lines))

    def whole(self) -> list[str]:
        """All of the screen, or of the lens."""
        if self._app.screen is self._app.walk:
            self._known = list(self._lens_lines())
            return self._known
        self._known_of_screen = list(screen_lines(self._app, self._app.screen))
        return self._known_of_screen

    def chart(self) -> Iterator[str]:
        """The chart; where a viewer has none, how there would be one."""
        frame, absent = self.frame, self._app.walk.candidates.absent
        if absent and not (frame.snapshot and frame.snapshot.chart):
            yield _("next token: {problem}").format(problem=spoken(absent))
        else:
            yield from words.chart_lines(frame)

    def lesson(self) -> list[str]:
        """All of the step of the lesson."""
        self._lesson = list(lesson_lines(self._app))
        return self._lesson

    def changes(self, *, quiet: bool) -> list[str]:
        """What is new since the last command; `quiet`: whether nothing was said of it yet."""
        lines = self._changes(quiet)
        self._app.announced.clear()
        return lines

    def _changes(self, quiet: bool) -> list[str]:
        screen, before = self._app.screen, self._screen
        self._screen = screen
        if screen is not self._app.walk:
            if screen is not before:
                return self._entered(screen)
            return self._screen_changes(screen) or self._unchanged(quiet and not question(self._app))
        lines = [*self._lesson_changes(), *self._lens_changes(quiet=quiet)]
        self._expected = ""
        if quiet and not lines and not self._app.walk.writing:
            return [_("closed")] if before is not screen else self._unchanged(quiet)
        return lines

    def _unchanged(self, quiet: bool) -> list[str]:
        return [_("nothing has changed")] if quiet else []

    def unasked(self) -> list[str]:
        """What is new without a command: another lens of the teacher, or what was measured for a lesson."""
        if self._app.screen is not self._app.walk or self._screen is not self._app.walk:
            return []
        return [*self._lesson_changes(), *self._lens_changes(), *self._shown()]

    def _shown(self) -> list[str]:
        """What the teacher shows in the same lens: the candidate that is picked, or other lines."""
        lens, known, picked = self._app.walk.lens, self._known, self._picked
        self._picked = self._under_cursor()
        if isinstance(lens, MirrorLens) and self.frame.activity != "generating":
            return [line for line in self.whole() if line not in known]
        moved = isinstance(self._app.walk, FollowScreen) and self._picked[0] == picked[0] and self._picked != picked
        return self._row(lens) if moved else []

    def _under_cursor(self) -> tuple[int, int]:
        lens, snapshot = self._app.walk.lens, self._app.state.frame.snapshot
        return (snapshot.cursor if snapshot else 0), lens.cursor if isinstance(lens, ChartLens) else 0

    @property
    def _lens_kind(self) -> type[Lens]:
        """The lens that is shown; a viewer has one for all lenses of the teacher."""
        walk = self._app.walk
        return walk.lens_kind if isinstance(walk, FollowScreen) else type(walk.lens)

    def _entered(self, screen: Screen[Any]) -> list[str]:
        if question(self._app):
            return []
        lines = [title for title in [title_of(screen)] if title]
        lines += self._unheard(screen)
        keys = keys_of(screen) or ", ".join(f"{said(keys[0])} {name}" for keys, name in screen_keys(screen))
        return [*lines, _("keys: {keys}").format(keys=keys)]

    def _screen_changes(self, screen: Screen[Any]) -> list[str]:
        known = self._known_of_screen
        return [] if question(self._app) else [line for line in self._unheard(screen) if line not in known]

    def _unheard(self, screen: Screen[Any]) -> list[str]:
        """All of a screen but what was just said of its training, of which each change is said at once."""
        status, lines = screen.progress if isinstance(screen, TrainScreen) else None, self.whole()
        if status is None:
            return lines
        newest = [words.training_line(status), *map(words.evaluation_line, status.evaluations[-1:])]
        return [line for line in lines if line not in newest or line not in self._app.announced]

    def _lesson_changes(self) -> list[str]:
        if not self._app.walk.lessons.playing:
            self._lesson = []
            return []
        known = self._lesson
        return [line for line in self.lesson() if line not in known]

    # The lens --------------------------------------------------------------------------------------------------------

    def _lens_changes(self, *, quiet: bool = False) -> list[str]:
        lens, kind, before = self._app.walk.lens, self._lens_kind, (self._lens, self._kind)
        self._lens, self._kind = lens, kind
        if (lens, kind) != before:
            self._picked = self._under_cursor()
            return [title(kind), *self.whole()]
        if self._expected in TRAVELLING and self._app.walk.candidates.absent and isinstance(lens, ChartLens):
            return [] if self.frame.snapshot and self.frame.snapshot.chart else list(self.chart())
        if self._expected in PICKING:
            return self._row(lens)
        if self._expected in ASKING and quiet and self.frame.snapshot:
            return [words.question_line(self.frame.snapshot)]
        if self._expected not in ADJUSTING + ANSWERING:
            return []
        known = self._known
        if not isinstance(lens, ChartLens) and (lines := [line for line in self.whole() if line not in known]):
            return lines
        if self._expected == "lens.turn":
            return [_("the other view is drawn otherwise; what is said stays the same")]
        if isinstance(lens, ChartLens):
            return []
        return self._row(lens) if self._expected in ADJUSTING else []

    def _lens_lines(self) -> Iterator[str]:
        lens = self._app.walk.lens
        if isinstance(lens, ChartLens):
            yield from self.chart()
        elif isinstance(lens, MirrorLens):
            yield from self.spoken(BLANK.sub(r'" \1"', strip.text) for strip in lens.strips(0, 10**6))
        elif isinstance(lens, LensPage):
            if lens.answer is not None:
                yield from answer_lines(lens, lens.answer)
            elif isinstance(lens.frame.answer, Refusal):
                yield spoken(self._app.spell(lens.frame.answer.problem))
            else:
                yield spoken(lens.waiting_text())

    def _row(self, lens: Lens) -> list[str]:
        """The row under the cursor, as far as the lens has one."""
        if isinstance(lens, ChartLens):
            return [words.candidate_line(lens.candidate)] if lens.candidate else []
        if isinstance(lens, LensPage) and lens.answer is not None and (line := row_line(lens, lens.answer)):
            return [line]
        at = getattr(lens, "cursor", 0)
        for strip in lens.strips(0, 10**6):
            if any(segment.style and segment.style.meta.get(ROW) == at for segment in strip):
                return [spoken(strip.text).strip("| ")]
        return []


# Screens over the walk -----------------------------------------------------------------------------------------------


def screen_lines(app: Spoken, screen: Screen[Any]) -> Iterator[str]:
    """What a screen shows."""
    match screen:
        case TrainScreen():
            yield from _training(screen)
        case CompareScreen():
            yield from _compared(app, screen)
        case SamplersScreen():
            yield from _samplers(screen)
        case PatchScreen():
            yield from _patches(screen)
        case SteeringScreen():
            yield from _steering(app, screen)
        case ModelDetailsScreen():
            yield from map(spoken, section_lines(screen.sections) if screen.sections else [_("a moment …")])
        case NotebookScreen():
            yield from prose(screen.code).split("\n")
        case SourceScreen():
            yield spoken(formula(one_line(screen.equation)))
            yield from prose(screen.code).split("\n")
        case _:
            yield from texts_of(screen)


def _training(screen: TrainScreen) -> Iterator[str]:
    status = screen.progress
    if status is None:
        yield _("no training yet")
        return
    yield words.training_line(status)
    at = screen.moment
    if at is None:
        return
    if at.evaluation is None:
        yield words.moment_line(at)
        return
    yield words.evaluation_line(at.evaluation)
    if not screen.heads.kind:
        yield from map(words.candidate_line, at.evaluation.chart.candidates[: words.FEW])
        return
    yield spoken(_(KINDS[screen.heads.kind]))
    grid = getattr(at.evaluation.heads, screen.heads.kind, ())
    yield from (
        grid_lines(grid, numbered(len(grid[0])), decimals=3)
        if grid
        else [_("no head is measured yet; a model has heads from model3 on")]
    )


def _compared(app: Spoken, screen: CompareScreen) -> Iterator[str]:
    answer, frame = screen.page.answer, app.state.frame
    if answer is None or frame.model is None or frame.snapshot is None:
        yield spoken(screen.page.waiting_text())
        return
    comparison = answer.comparison
    for side, model, chart, sampler in (
        ("A", frame.model, comparison.chart_a, frame.snapshot.sampler),
        ("B", answer.model, comparison.chart_b, answer.sampler),
    ):
        yield f"{side}: {words.model_line(model)}"
        yield f"{side}: {words.sampler_line(sampler)}"
        yield from (f"{side}: {words.candidate_line(each)}" for each in chart.candidates[: words.FEW])
    yield from words.divergence_lines(comparison)


def _samplers(screen: SamplersScreen) -> Iterator[str]:
    answer = screen.page.answer
    if answer is None:
        yield spoken(screen.page.waiting_text())
        return
    yield spoken(str(screen.page.border_title))
    for number, (name, column) in enumerate(zip(screen.names, answer.columns, strict=True)):
        here = _("here") if number == screen.page.cursor else ""
        yield ", ".join(filter(None, (_(name), words.sampler_line(column.sampler), here)))
        yield from words.column_lines(column)


def _patches(screen: PatchScreen) -> Iterator[str]:
    form = screen.form
    listed = screen.focused if isinstance(screen.focused, OptionList) else None
    if form.config is not None:
        fields = form.fields()
        line = _("the patch to add: {fields}").format(
            fields=", ".join(f"{_(name)} {form.value(name)}" for name in fields)
        )
        yield line if listed else line + _("; at {field}").format(field=_(fields[form.field]))
    yield _("patches that act:")
    yield from entries_of(screen.acting)
    yield from texts_of(screen)
    yield from entries_of(screen.effects)
    if listed and listed.highlighted_option:
        yield _("at {entry}").format(entry=entry_of(listed.highlighted_option))


def _steering(app: Spoken, screen: SteeringScreen) -> Iterator[str]:
    at = screen.list.highlighted or 0
    if not screen.entries:
        yield from entries_of(screen.list)
    for number, entry in enumerate(screen.entries):
        yield words.steering_line(number + 1, entry, here=number == at)
    yield from texts_of(screen, "#about-vector")
    chart = app.state.frame.snapshot.chart if app.state.frame.snapshot else None
    if screen.entries and chart:
        yield from map(words.candidate_line, chart.candidates[: words.FEW])
