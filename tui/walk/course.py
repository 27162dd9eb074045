"""Actions of the course: open and leave it, turn its steps, and follow what a person does in them."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from textual.widget import Widget

from core.errors import UserError
from core.language import _, spoken
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from core.walk.values import PromptForm
from tui.course import keys, library, setting
from tui.course.contents import Contents
from tui.course.directives import split_keys
from tui.course.lesson import Lesson
from tui.course.measurements import Bench, Seen
from tui.course.measuring import Readings, measuring
from tui.course.player import WALK_SETTINGS, Player
from tui.course.progress import Progress
from tui.course.step_state import StepState
from tui.drawing.text import short_name
from tui.lenses.base import Lens
from tui.runner import Frame, Question, WalkStart
from tui.walk.group import ActionGroup
from tui.walk.lens_keys import LensKeys
from tui.walk.lesson_code import LessonCode
from tui.walk.own import Own
from tui.walk.panels import PanelsScreen

TRAINED = 10
"""Steps of a training after which is measured again."""
USUAL = ModelChoice(name="model5-trained")
"""The model where a lesson names none."""
HELD = ("walking", "lens", "sampling", "asking")
"""The groups of the actions that wait until the walk of the step is there."""


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


class Lessons(ActionGroup):
    """Plays the course on the live walk. A person's own walk is put aside meanwhile."""

    def __init__(
        self,
        screen: PanelsScreen,
        lens_keys: LensKeys,
        use_sampler: Callable[[Sampler], None],
        act: Callable[[str, tuple[object, ...]], None],
        source: CourseSource,
    ) -> None:
        super().__init__(screen)
        self._lens_keys, self._use_sampler, self._act, self._source = lens_keys, use_sampler, act, source
        self.player: Player | None = None
        """None until the course is opened."""
        self.playing = False
        """Whether the course is open."""
        self._own: Own | None = None
        self._lens: type[Lens] | None = None
        """The lens of the course when it was left."""
        self._number = 0
        """The number of the walk that was begun last."""
        self._file: Path | None = None
        """Where that walk is kept, if it is."""
        self._begun = False
        """Whether that walk was there when the course was left."""
        self._keys: tuple[str, ...] = ()
        """Keys that are pressed when the walk of the step is ready."""
        self._held: list[tuple[str, tuple[object, ...]]] = []
        """Actions that a person asked for before that; they act after it."""
        self._watched: object = None
        self.problem: UserError | None = None
        """Why the walk of the step has not the model that it asks for; None where it has it."""
        self._bench = Bench()
        self._code = LessonCode(screen)

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
            self.go_on(lesson)
        elif player:
            self.choose()

    def onward(self) -> None:
        """Show the next step, after the last one the next lesson."""
        self._turn(1)

    def back(self) -> None:
        """Show the step before."""
        self._turn(-1)

    def page(self, by: int) -> None:
        """Show more of the step, then the next of the lesson; something open is shown first, and holds it."""
        assert self.player is not None
        if self.screen.lesson.turn(by):
            return
        gate, turns = self.player.gate(), self.notices.key_of("course.onward" if by > 0 else "course.back")
        if by > 0 and gate is not None:
            self.screen.lesson.look_at(gate)
            self.notices.inform(_("something in this step is still open; {key} goes on all the same").format(key=turns))
        elif end := self.player.end(by, turns):
            self.notices.inform(end)
        else:
            self._turn(by)

    def hint(self) -> None:
        """Show a hint of the task, after the last hint its solution."""
        if self.player:
            if said := self.player.hint():
                self.notices.inform(said)
            self._draw()

    def code(self) -> None:
        """Copy the code of the step or the lesson, or write it to a file."""
        if self.player:
            self._code.offer(self.player.lesson, self.player.step)

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
            self.notices.inform(self.player.end(by, ""))

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
            if panel := self.panel:
                self.screen.focus_panel(panel)
            self._follow()
        else:
            self.go_on(lesson)

    def go_on(self, lesson: Lesson) -> None:
        """Open a lesson at the step where it was left, and with its walk where that is kept."""
        assert self.player is not None
        at, left = self.player.place(lesson)
        self.open(lesson, at, left)

    def open(self, lesson: Lesson, at: int = 0, left: StepState | None = None) -> None:
        """Open a step of a lesson, in the state that the lesson gives it, or in the one in which it was `left`."""
        assert self.player is not None
        self._note()
        whole = not self.playing or lesson is not self.player.lesson or at <= self.player.at
        self._enter()
        self.player.open(lesson, at, left)
        self._watched, self._keys, self._held = None, (), []
        self.state.runner.watch(None)
        self._set_up(whole, goes_on=left is not None)
        self._save()
        self._follow()

    def _enter(self) -> None:
        """Put aside what belongs to the person's own walk, and show the panel."""
        if not self.playing:
            self._own = Own.of(self.state, self.screen.lens)
            self.state.vectors = ()
            self.playing = True
            self.screen.show_lesson(True)

    def leave(self) -> None:
        """Come back to the person's own walk. The walk of the course and its progress are kept."""
        self._note()
        own, self._own, self.playing = self._own, None, False
        assert own is not None
        self._lens, self._watched, self._held = type(self.screen.lens), None, []
        self._begun = self.state.frame.begun == self._number
        own.restore(self.state)
        self._save()
        self.screen.show_lesson(False)
        self._lens_keys.turn_to(own.lens)

    def close(self) -> None:
        """Keep the progress, as the app ends."""
        self._note()
        if self.player:
            with suppress(UserError):
                self.player.progress.save()

    def _note(self) -> None:
        """Note in the progress what was done in the step, and what the screen shows of it."""
        if self.playing and self.player:
            known = self.player.progress.of(self.player.lesson.name)
            known.state, known.lens = self.player.state.values(), self.screen.lens.NAME

    def _save(self) -> None:
        assert self.player is not None
        self._note()
        try:
            self.player.progress.save()
        except UserError as error:
            self.notices.warn(error)

    # The state of a step ---------------------------------------------------------------------------------------------

    def _set_up(self, whole: bool, *, goes_on: bool = False) -> None:
        """Give the app the state in which the step begins; the `whole` of it, or what its own `{set}` changes.

        A walk that `goes_on` is that of the lesson's file, which has a sampler and a position of its own.
        """
        assert self.player is not None
        own, all_of_it = self.player.wished(), self.player.wished_in_all()
        begins = whole or goes_on or not self._number or bool(own.keys() & WALK_SETTINGS)
        values = all_of_it if begins else own
        if begins:
            self._begin(values, goes_on)
        elif own.keys() & {"temperature", "sampler", "seed"}:
            self._use_sampler(setting.sampler(values))
        self.state.count = int(values.get("count") or self.state.count)
        known = self.player.progress.of(self.player.lesson.name)
        if name := (goes_on and known.lens) or values.get("lens"):
            kind = setting.lens_kind(name)
            self.screen.forget(kind)
            self._lens_keys.turn_to(kind)
        if panel := values.get("panel"):
            self.screen.focus_panel(getattr(self.screen, panel))
        if (position := values.get("position")) and not goes_on:
            at = None if position == "last" else int(position) + 1
            self.submit(lambda session: session.travel(len(session.tokens) if at is None else at))
        words = split_keys(values.get("keys", ""))
        self._keys = tuple(filter(keys.is_view, words)) if goes_on else words

    @property
    def panel(self) -> Widget | None:
        """The panel that the step brings forward, to which the keys return from the prompt."""
        name = self.player.wished().get("panel") if self.playing and self.player else None
        panel: Widget | None = getattr(self.screen, name) if name else None
        return panel

    def _begin(self, values: Mapping[str, str], goes_on: bool) -> None:
        """Begin the walk of the step. Where its model is not here, another one stands in for it."""
        assert self.player is not None
        lesson, progress = self.player.lesson.name, self.player.progress
        self._number, self._file, self.problem = self._number + 1, progress.walk_file(lesson), None
        progress.of(lesson).walk = goes_on  # also where the app ends before it is read
        try:
            choice = setting.choice(values, USUAL)
        except UserError as error:
            self.problem, choice, self._file = error, USUAL, None
        text, sampler = values.get("prompt", ""), setting.sampler(values)
        form = PromptForm(chat=values.get("chat") == "on")
        self.state.vectors = ()
        self.state.runner.begin(WalkStart(self._number, choice, text, sampler, form, self._file, goes_on))

    # Following the person --------------------------------------------------------------------------------------------

    def takes(self, name: str, arguments: tuple[object, ...]) -> bool:
        """Whether the course takes an action: it answers a question, or waits until the walk of the step is there."""
        if not self.playing or self.player is None:
            return False
        if self.waiting and name.partition(".")[0] in HELD and name != "walking.stop":
            self._held.append((name, arguments))
            return True
        number = arguments[0] if name == "lens.choose" and arguments else None
        if not isinstance(number, int):
            return False
        question = self.player.question()
        asked = question is not None and (question == self.player.gate() or self.screen.lesson.sees(question))
        return asked and self.answer(number - 1)

    def pressed(self, action: str | None) -> None:
        """The key of an action was pressed. It counts where the walk of the step is there."""
        if self.playing and self.player and action and not action.startswith("course.") and not self.begins:
            self.player.pressed(action)
            self._follow()

    def follow_frame(self, frame: Frame) -> None:
        """A frame was drawn."""
        if not self.playing or self.player is None:
            return
        known = self.player.progress.of(self.player.lesson.name)
        if frame.begun == self._number:
            known.walk = self._file is not None
        if isinstance(frame.watched, Readings) and frame.begun == self._number:
            self.player.take(frame.watched, writing=self.screen.writing)
        ready = frame.begun == self._number and frame.activity == "idle" and frame.snapshot is not None
        if self._keys and ready:
            pressed, self._keys = self._keys, ()
            for word in pressed:
                for key in keys.pressed(word, self.notices.remapped):
                    self.screen.app.post_message(keys.event(key))
            self.screen.app.call_later(self._follow)
        if self._held and not self.waiting:
            held, self._held = self._held, []
            for action in held:
                self.screen.app.call_later(self._act, *action)
        self._follow()

    def follow_focus(self) -> None:
        """The keys went to another panel."""
        if self.playing:
            self._follow()

    @property
    def begins(self) -> bool:
        """Whether the walk of the step is not there yet."""
        return self.playing and self._number not in (self.state.frame.begun, self.state.frame.not_begun)

    @property
    def waiting(self) -> bool:
        """Whether keys of the step wait to be pressed, or its walk to be begun."""
        return self.begins or (bool(self._keys) and self.state.frame.not_begun != self._number)

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

    def _draw(self) -> None:
        if self.player:
            names = {id: self.notices.key_of(id) for id in keys.actions()}
            self.screen.lesson.show(self.player, names, self._told())

    def _told(self) -> str:
        """What is said over the step where its model is not here; empty where it is."""
        if self.problem is None:
            return ""
        words = _("{problem}. Meanwhile {name} stands in; {model} chooses another model, {onward} goes on.")
        model, onward = map(self.notices.key_of, ("choose.model", "course.onward"))
        name = short_name(self.state.choice.name)
        return words.format(problem=self.notices.spell(self.problem), name=name, model=model, onward=onward)
