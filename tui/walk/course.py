"""Actions of the course: open and leave it, turn its steps, and follow what a person does in them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from textual.widget import Widget

from core.errors import UserError
from core.language import _, spoken
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from core.walk.values import PromptForm
from tui import lenses
from tui.course import keys, library, setting
from tui.course.contents import Contents
from tui.course.directives import split_keys
from tui.course.lesson import Lesson
from tui.course.measurements import Bench, Seen
from tui.course.measuring import Readings, measuring
from tui.course.player import WALK_SETTINGS, Player
from tui.course.progress import Progress
from tui.lenses.base import Lens
from tui.runner import Frame, Question
from tui.screens.steering_list import Steering
from tui.walk.group import ActionGroup
from tui.walk.lens_keys import LensKeys
from tui.walk.panels import PanelsScreen

TRAINED = 10
"""Steps of a training after which is measured again."""
USUAL = ModelChoice(name="model5-trained")
"""The model where a lesson names none."""


@dataclass(frozen=True, slots=True)
class CourseSource:
    """Which course is played, and where its progress is kept."""

    folder: Path | None = None
    """None for the lessons that come with tokenwalk."""
    language: str = ""
    """Empty for the one that is spoken."""
    progress: Path | None = None
    """None keeps the progress until the app ends."""
    lesson: int | None = None
    """The number of the lesson to open at the start; None opens the list."""
    at_start: bool = False
    """Whether the app opens in the course."""


@dataclass(slots=True)
class Own:
    """What of the screen belongs to a person's own walk while the course is open."""

    lens: type[Lens]
    count: int
    vectors: tuple[Steering, ...]
    sampler: Sampler
    form: PromptForm
    choice: ModelChoice


class Lessons(ActionGroup):
    """Plays the course on the live walk. A person's own walk is put aside meanwhile."""

    def __init__(
        self, screen: PanelsScreen, lens_keys: LensKeys, use_sampler: Callable[[Sampler], None], source: CourseSource
    ) -> None:
        super().__init__(screen)
        self._lens_keys, self._use_sampler, self._source = lens_keys, use_sampler, source
        self.player: Player | None = None
        """None until the course is opened."""
        self.playing = False
        """Whether the course is open."""
        self._own: Own | None = None
        self._lens: type[Lens] | None = None
        """The lens of the course when it was left."""
        self._number = 0
        """The number of the walk that was begun last."""
        self._begun = False
        """Whether that walk was there when the course was left."""
        self._keys: tuple[str, ...] = ()
        """Keys that are pressed when the walk of the step is ready."""
        self._watched: object = None
        self.problem: UserError | None = None
        """Why the step cannot have the state that it asks for; None where it has it."""
        self._bench = Bench()

    # Keys ------------------------------------------------------------------------------------------------------------

    def toggle(self) -> None:
        """Show the list of lessons; within the course, leave it."""
        if self.playing:
            self.leave()
        else:
            self.choose()

    def choose(self) -> None:
        """Show the list of lessons, and open the one that is chosen."""
        if player := self.load():
            self.open_dialog(Contents(player), self._take)

    def start(self) -> None:
        """Open the course at the start of the app: the list of lessons, or the lesson that was asked for."""
        player = self.load()
        if player and self._source.lesson is not None:
            lesson = next(each for each in player.course.lessons if each.number == self._source.lesson)
            self.open(lesson, player.resume_at(lesson))
        elif player:
            self.choose()

    def onward(self) -> None:
        """Show the next step, after the last one the next lesson."""
        self._turn(1)

    def back(self) -> None:
        """Show the step before."""
        self._turn(-1)

    def page(self, by: int) -> None:
        """Show more of the step, and at its end the next step; something open is shown first, and holds it."""
        assert self.player is not None
        if self.screen.lesson.turn(by):
            return
        gate = self.player.gate()
        if by > 0 and gate is not None:
            self.screen.lesson.look_at(gate)
            key = self.notices.key_of("course.onward")
            self.notices.inform(_("something in this step is still open; {key} goes on all the same").format(key=key))
        else:
            self._turn(by)

    def hint(self) -> None:
        """Show a hint of the task, after the last hint its solution."""
        if self.player:
            if said := self.player.hint():
                self.notices.inform(said)
            self._draw()

    def answer(self, answer: int, block: int | None = None) -> bool:
        """Give an answer, from 0, to the question that is a block of the step, or to the open one; whether it did."""
        given = self.playing and self.player is not None and self.player.answer(answer, block)
        if given:
            self._follow()
        return given

    def _turn(self, by: int) -> None:
        assert self.player is not None
        if target := self.player.neighbour(by):
            self.open(*target)
        else:
            end = _("this is the last step of the course") if by > 0 else _("this is the first step of the course")
            self.notices.inform(end)

    # Opening and leaving ---------------------------------------------------------------------------------------------

    def load(self) -> Player | None:
        """The player of the course, which is read at the first time; None where it cannot be read."""
        if self.player is None:
            try:
                course = library.course(self._source.folder, self._source.language or spoken())
                progress = Progress(self._source.progress, course.name)
                self.player = Player(course, progress)
            except UserError as error:
                self.notices.warn(error)
                return None
            if progress.problem:
                self.notices.warn(progress.problem)
        return self.player

    def _take(self, place: int | None) -> None:
        player = self.player
        if place is None or player is None:
            return
        lesson = player.course.lessons[place]
        if lesson is player.lesson and self._begun:
            self._enter()
            self.state.runner.go_on(self._number)
            if self._lens:
                self._lens_keys.turn_to(self._lens)
            self._follow()
        else:
            self.open(lesson, player.resume_at(lesson))

    def open(self, lesson: Lesson, at: int = 0) -> None:
        """Open a step of a lesson, in the state that the lesson gives it."""
        assert self.player is not None
        whole = not self.playing or lesson is not self.player.lesson or at <= self.player.at
        self._enter()
        self.player.open(lesson, at)
        self._save()
        self.problem, self._watched, self._keys = None, None, ()
        self.state.runner.watch(None)
        try:
            self._set_up(whole)
        except UserError as error:
            self.problem = error
            if not self._number:
                self._begin(USUAL, {})
        self._follow()

    def _enter(self) -> None:
        """Put aside what belongs to the person's own walk, and show the panel."""
        if not self.playing:
            state, lens = self.state, type(self.screen.lens)
            self._own = Own(lens, state.count, state.vectors, state.sampler, state.form, state.choice)
            state.vectors = ()
            self.playing = True
            self.screen.show_lesson(True)

    def leave(self) -> None:
        """Come back to the person's own walk. The walk of the course and its progress are kept."""
        own, self._own, self.playing = self._own, None, False
        assert own is not None
        self._lens, self._watched = type(self.screen.lens), None
        self._begun = self.state.frame.begun == self._number
        state = self.state
        state.runner.watch(None)
        state.runner.come_back(own.choice, own.sampler)
        state.count, state.vectors, state.sampler, state.form = own.count, own.vectors, own.sampler, own.form
        self._save()
        self.screen.show_lesson(False)
        self._lens_keys.turn_to(own.lens)

    def close(self) -> None:
        """Keep the progress, as the app ends."""
        if self.player:
            with suppress(UserError):
                self.player.progress.save()

    def _save(self) -> None:
        assert self.player is not None
        try:
            self.player.progress.save()
        except UserError as error:
            self.notices.warn(error)

    # The state of a step ---------------------------------------------------------------------------------------------

    def _set_up(self, whole: bool) -> None:
        """Give the app the state in which the step begins; the `whole` of it, or what its own `{set}` changes."""
        assert self.player is not None
        own, all_of_it = self.player.wished(), self.player.wished_in_all()
        begins = whole or not self._number or bool(own.keys() & WALK_SETTINGS)
        values = all_of_it if begins else own
        if begins:
            self._begin(setting.choice(values, USUAL), values)
        elif own.keys() & {"temperature", "sampler", "seed"}:
            self._use_sampler(setting.sampler(values))
        self.state.count = int(values.get("count") or self.state.count)
        if name := values.get("lens"):
            kind = lenses.named(setting.lens_name(name))
            self.screen.forget(kind)
            self._lens_keys.turn_to(kind)
        if panel := values.get("panel"):
            self.screen.focus_panel(getattr(self.screen, panel))
        if position := values.get("position"):
            at = None if position == "last" else int(position) + 1
            self.submit(lambda session: session.travel(len(session.tokens) if at is None else at))
        self._keys = split_keys(values.get("keys", ""))

    @property
    def panel(self) -> Widget | None:
        """The panel that the step brings forward, to which the keys return from the prompt."""
        name = self.player.wished().get("panel") if self.playing and self.player else None
        panel: Widget | None = getattr(self.screen, name) if name else None
        return panel

    def _begin(self, choice: ModelChoice, values: Mapping[str, str]) -> None:
        self._number += 1
        form = PromptForm(chat=values.get("chat") == "on")
        self.state.vectors = ()
        self.state.runner.begin(self._number, choice, values.get("prompt", ""), setting.sampler(values), form)

    # Following the person --------------------------------------------------------------------------------------------

    def takes(self, name: str, arguments: Sequence[object]) -> bool:
        """Whether an action answers a question, instead of what it does else: the one that is next, or is in view."""
        number = arguments[0] if name == "lens.choose" and arguments else None
        if not isinstance(number, int) or not self.playing or self.player is None:
            return False
        question = self.player.question()
        asked = question is not None and (question == self.player.gate() or self.screen.lesson.sees(question))
        return asked and self.answer(number - 1)

    def pressed(self, action: str | None) -> None:
        """The key of an action was pressed."""
        if self.playing and self.player and action and not action.startswith("course."):
            self.player.pressed(action)
            self._follow()

    def follow_frame(self, frame: Frame) -> None:
        """A frame was drawn."""
        if not self.playing or self.player is None:
            return
        if isinstance(frame.watched, Readings) and frame.begun == self._number:
            self.player.take(frame.watched, writing=self.screen.writing)
        ready = frame.begun == self._number and frame.activity == "idle" and frame.snapshot is not None
        if self._keys and ready:
            pressed, self._keys = self._keys, ()
            for word in pressed:
                for key in keys.pressed(word, self._remapped()):
                    self.screen.app.post_message(keys.event(key))
            self.screen.app.call_later(self._follow)
        self._follow()

    def follow_focus(self) -> None:
        """The keys went to another panel."""
        if self.playing:
            self._follow()

    @property
    def waiting(self) -> bool:
        """Whether keys of the step wait to be pressed, or its walk to be begun."""
        return bool(self._keys) or self.state.frame.begun != self._number

    def _follow(self) -> None:
        """Ask for what is to be measured now, and draw."""
        assert self.player is not None
        if not self.playing:
            return
        wanted, seen = self.player.wanted(), self._seen()
        training = seen.training
        progress = training and (training.state, training.step // TRAINED, len(training.evaluations))
        asked = (self.player.opening, wanted, replace(seen, training=None), progress)
        if not self._keys and asked != self._watched:
            self._watched = asked
            ask = measuring(self.player.opening, wanted, seen, self._bench)
            self.state.runner.watch(Question(ask) if wanted else None)
        self._draw()

    def _seen(self) -> Seen:
        """What the app shows now."""
        assert self.player is not None
        lens, mode = self.screen.lens, "write" if self.screen.writing else "walk"
        pressed = dict(self.player.state.pressed)
        return Seen(lens.NAME, mode, pressed, lens.looked_at(), self.state.frame.training)

    def _remapped(self) -> Mapping[str, str]:
        return {}

    def _draw(self) -> None:
        if self.player:
            names = {id: self.notices.key_of(id) for id in keys.actions()}
            self.screen.lesson.show(self.player, names, self.notices.spell(self.problem) if self.problem else "")
