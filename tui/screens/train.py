"""The training screen: losses, a probe and checkpoints of a training, during it and afterwards.

The training runs in the runner; this screen starts, pauses and stops it. It goes on when the screen is closed.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from core.errors import UserError
from core.language import _
from core.loading.checkpoints import card as cards
from core.loading.checkpoints import folders
from core.loading.checkpoints.recipe import Recipe
from core.training.status import EvaluatedStep, TrainingStatus
from tui.dialogs.choose import ChooseScreen, Entry
from tui.drawing.text import one_line
from tui.notices import spelled
from tui.panels.footer import KeyFooter
from tui.panels.head_scores import HeadScoresPlot
from tui.panels.learning import LossPlot, TrainingProgress
from tui.panels.probe import CheckpointsPanel, ProbePanel
from tui.runner import Frame, Question
from tui.screens.recipe import RecipeScreen

DRAW_SECONDS = 0.16
"""The shortest time between two drawings during a training; faster changes cannot be read."""


class TrainingRunner(Protocol):
    """The part of the runner that trains."""

    def train(self, recipe: Recipe, folder: Path) -> None: ...

    def resume_training(self) -> None: ...

    def pause_training(self) -> None: ...

    def stop_training(self) -> None: ...


class TrainScreen(Screen[Path | None]):
    """One training. The screen answers with the path of the checkpoint to walk from, or None."""

    BINDINGS = [
        Binding("escape,q,t", "dismiss(None)", "close", key_display="esc"),
        Binding("space", "pause", "pause"),
        Binding("space", "resume", "continue"),
        Binding("x", "stop", "stop"),
        Binding("left,h,up,k", "look(-1)", "look", key_display="←→"),
        Binding("right,l,down,j", "look(1)", "look forward", show=False),
        Binding("home", "look_home", "first", show=False),
        Binding("end", "look_end", "newest", show=False),
        Binding("enter", "walk", "walk", key_display="⏎"),
        Binding("o", "turn", "scale"),
        Binding("i", "heads", "heads", show=False),
        Binding("n", "new", "new"),
        Binding("e", "earlier", "earlier"),
    ]

    def __init__(self, frame: Frame, runner: TrainingRunner) -> None:
        super().__init__()
        self._frame, self._runner = frame, runner
        self._step: int | None = None
        """The step that is shown; None follows the newest."""
        self._drawn_at = 0.0
        self._due = False
        """Whether a drawing is scheduled."""
        self._drawn_state: tuple[object, ...] | None = ()
        self.standing = TrainingProgress()
        self.problem = Static(id="problem")
        self.losses = LossPlot()
        self.heads = HeadScoresPlot()
        self.probe = ProbePanel()
        self.checkpoints = CheckpointsPanel()
        self.empty = Static(_empty(), id="no-training")

    def compose(self) -> ComposeResult:
        yield self.empty
        yield self.standing
        yield self.problem
        yield self.losses
        yield self.heads
        with Horizontal(id="details"):
            yield self.probe
            yield self.checkpoints
        yield KeyFooter()

    def on_mount(self) -> None:
        self._draw()
        if self.progress is None:
            self.action_new()

    @property
    def progress(self) -> TrainingStatus | None:
        """The training, if there is one."""
        return self._frame.training

    def question(self) -> Question | None:
        """None: this screen asks nothing of the walk."""
        return None

    # Frames ----------------------------------------------------------------------------------------------------------

    def show(self, frame: Frame) -> None:
        """Draw a frame, at once or `DRAW_SECONDS` after the last drawing."""
        self._frame = frame
        wait = self._drawn_at + DRAW_SECONDS - time.monotonic()
        if wait <= 0:
            self._draw()
        elif not self._due:
            self._due = True
            self.set_timer(wait, self._draw)

    def _draw(self) -> None:
        self._due, self._drawn_at = False, time.monotonic()
        progress = self.progress
        state = (
            progress is None,
            progress and (progress.name, progress.state, progress.problem, bool(progress.evaluated_steps)),
        )
        if state != self._drawn_state:
            self._show_state(progress)
            self._drawn_state = state
        if progress is None:
            return
        at = self.moment
        self.standing.show(progress, self._frame.activity)
        self.set_class(bool(self.heads.kind), "-heads")
        (self.heads if self.heads.kind else self.losses).show(progress, at)
        self.probe.show(progress, at, self._step is None)
        self.checkpoints.show(progress, at)

    def _show_state(self, progress: TrainingStatus | None) -> None:
        """Show the panels or the empty state, the problem if there is one, and the keys that act now."""
        self.set_class(progress is None, "-empty")
        problem = progress.problem if progress else ""
        self.problem.display = bool(problem)
        self.problem.update(
            Content(_("{problem} · space tries to continue, n starts anew").format(problem=spelled(self, problem)))
        )
        self.refresh_bindings()

    @property
    def moment(self) -> EvaluatedStep | None:
        """The evaluation that is shown."""
        moments = self.progress.evaluated_steps if self.progress else ()
        if self._step is None or not moments:
            return moments[-1] if moments else None
        return min(moments, key=lambda each: abs(each.step - self._step))  # type: ignore[operator]

    # Actions ---------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether the key of an action has an effect at present."""
        progress = self.progress
        if action in ("pause", "resume"):
            state = progress.state if progress else "ended"
            return state != "ended" and (state == "paused") is (action == "resume")
        if action == "stop":
            return progress is not None and progress.state != "ended"
        if action in ("look", "look_home", "look_end", "walk"):
            return progress is not None and bool(progress.evaluated_steps)
        return progress is not None if action in ("turn", "heads") else True

    def action_pause(self) -> None:
        self._runner.pause_training()

    def action_resume(self) -> None:
        self._runner.resume_training()

    def action_stop(self) -> None:
        self._runner.stop_training()

    def action_look(self, by: int) -> None:
        moments, at = self.progress.evaluated_steps if self.progress else (), self.moment
        if at is None:
            return
        to = max(0, moments.index(at) + by)
        self._step = moments[to].step if to < len(moments) - 1 else None
        self._draw()

    def action_look_home(self) -> None:
        self._step = 0
        self._draw()

    def action_look_end(self) -> None:
        self._step = None
        self._draw()

    def action_turn(self) -> None:
        self.losses.switch_scale()

    def action_heads(self) -> None:
        """Show what the heads attend to over the evaluations, one score after the other, then the losses again."""
        self.heads.turn()
        self._draw()

    def action_walk(self) -> None:
        at = self.moment
        if at is None:
            return
        if at.path is not None and at.path.is_file():
            self.dismiss(at.path)
        else:
            self._warn(_("the checkpoint of step {step:,} was deleted; choose a step beside it").format(step=at.step))

    def _warn(self, problem: str) -> None:
        self.notify(one_line(problem), severity="warning", markup=False, timeout=8)

    # Another training ------------------------------------------------------------------------------------------------

    def action_new(self) -> None:
        recipe = self.progress.recipe if self.progress else Recipe()
        self.app.push_screen(RecipeScreen(recipe), self._take_recipe)

    def _take_recipe(self, recipe: Recipe | None) -> None:
        if recipe is not None:
            self._begin(recipe, folders.unused(recipe))

    def _begin(self, recipe: Recipe, folder: Path) -> None:
        self._step = None
        self._runner.train(recipe, folder)

    def action_earlier(self) -> None:
        self.run_worker(self._list_earlier, thread=True, exclusive=True, group="trainings")

    def _list_earlier(self) -> None:
        self.app.call_from_thread(self._offer_earlier, [self._entry(name, path) for name, path in folders.trainings()])

    def _offer_earlier(self, entries: Sequence[Entry]) -> None:
        if not entries:
            self._warn(_("there is no training in {home}; n starts one").format(home=folders.home()))
        elif self.is_current:
            present = self.progress.name if self.progress else ""
            self.app.push_screen(ChooseScreen(_("continue a training"), entries, present), self._take_earlier)

    def _take_earlier(self, name: str | None) -> None:
        if name is None:
            return
        if self.progress and name == self.progress.name and self.progress.state != "ended":
            self._runner.resume_training()
            return
        try:
            card = cards.read_card(folders.home() / name / folders.LATEST)
        except UserError as error:
            self._warn(spelled(self, error))
        else:
            if card:
                self._begin(card.recipe, folders.home() / name)

    def _entry(self, name: str, path: Path) -> Entry:
        """An earlier training as an entry of the list."""
        try:
            card = cards.read_card(path)
        except UserError as error:
            return Entry(name, name, spelled(self, error), enabled=False)
        if card is None:
            return Entry(name, name, _("{name} is not a checkpoint of tokenwalk").format(name=path.name), enabled=False)
        return Entry(
            name,
            name,
            _("{step:,}/{steps:,} steps · loss {loss:.2f} nats · {corpus}").format(
                step=card.step, steps=card.recipe.steps, loss=card.loss, corpus=card.corpus
            ),
        )


def _empty() -> Content:
    """What is shown before the first training."""
    keys = (("n", _("train a rung")), ("e", _("continue an earlier training")))
    lines = [Content.assemble((key, "bold $accent"), f"  {words}") for key, words in keys]
    return Content("\n").join([Content(_("no training yet")), Content(""), *lines])
