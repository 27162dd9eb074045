"""Plays a lesson: which step is shown, what is done in it, and what is to be measured. Knows no widget and no model.

A step is gone through from top to bottom. Waits, tasks and questions are gates: what stands after an open gate is
measured when the gate is done. A claim that holds keeps what was measured then; so does a value in the text, unless it
follows the walk.
"""

from collections.abc import Iterator

from core.language import _
from tui.course.difference import DifferenceView
from tui.course.expressions import Expression, calls
from tui.course.lesson import Block, Difference, Lesson, Press, Prose, Question, Set, Step, Task, expressions
from tui.course.library import Course
from tui.course.measuring import Reading, Readings, Wanted, follows
from tui.course.progress import Progress
from tui.course.step_state import StepState

WALK_SETTINGS = frozenset(
    ("model", "prompt", "tokenizer", "weights_seed", "embed_dim", "context", "blocks", "heads", "activation", "dtype")
)
"""The settings that begin a new walk."""


class Player:
    """One course, with the progress of a person."""

    def __init__(self, course: Course, progress: Progress) -> None:
        self.course, self.progress = course, progress
        self.lesson = course.lessons[0]
        self.at = 0
        """The number of the step, from 0."""
        self.opening = 0
        """Counts the steps that were opened."""
        self.state = StepState()
        self._answers: dict[tuple[str, int], dict[int, list[int]]] = {}
        """The answers that were given, by lesson and step: a step that is shown again still has them."""
        names = [lesson.name for lesson in course.lessons]
        if progress.lesson in names:
            self.lesson = course.lessons[names.index(progress.lesson)]
            self.at = min(progress.of(self.lesson.name).step, len(self.lesson.steps) - 1)

    @property
    def step(self) -> Step:
        """The step that is shown."""
        return self.lesson.steps[self.at]

    # Turning ---------------------------------------------------------------------------------------------------------

    def open(self, lesson: Lesson, at: int = 0, state: StepState | None = None) -> None:
        """Show a step of a lesson, with what was done in it before where there is a `state`."""
        self.lesson, self.at = lesson, max(0, min(at, len(lesson.steps) - 1))
        step = (lesson.name, self.at)
        self.state, self.opening = state or StepState(answered=self._answers.get(step, {})), self.opening + 1
        self._answers[step] = self.state.answered
        self.progress.lesson = lesson.name
        self.progress.of(lesson.name).step = self.at
        self._note()

    def place(self, lesson: Lesson) -> tuple[int, StepState | None]:
        """The step at which a lesson goes on, and what was done there; from the start on, its questions are open."""
        at = self.resume_at(lesson)
        if at == 0:
            self._answers = {step: given for step, given in self._answers.items() if step[0] != lesson.name}
        return at, self.left_at(lesson)

    def resume_at(self, lesson: Lesson) -> int:
        """The step at which a lesson goes on: where it was left, and from the start where another was opened since."""
        known = self.progress.of(lesson.name)
        last = self.progress.lesson == lesson.name and known.walk
        return 0 if self.is_done(lesson) and not last else min(known.step, len(lesson.steps) - 1)

    def left_at(self, lesson: Lesson) -> StepState | None:
        """What was done in the step that a lesson goes on at, where its walk is kept as well; else None."""
        known = self.progress.of(lesson.name)
        kept = known.walk and known.step == self.resume_at(lesson)
        return StepState.of(known.state) if kept else None

    def neighbour(self, by: int) -> tuple[Lesson, int] | None:
        """The step before or after this one, perhaps in another lesson; None at an end of the course."""
        at = self.at + by
        if 0 <= at < len(self.lesson.steps):
            return self.lesson, at
        lessons = self.course.lessons
        place = lessons.index(self.lesson) + by
        if not 0 <= place < len(lessons):
            return None
        return lessons[place], 0 if by > 0 else len(lessons[place].steps) - 1

    def end(self, by: int, key: str) -> str:
        """That the lesson or the course ends there, and which key turns to the lesson beyond; empty where none does."""
        target = self.neighbour(by)
        if target is None:
            return _("this is the last step of the course") if by > 0 else _("this is the first step of the course")
        if target[0] is self.lesson:
            return ""
        words = _("the lesson ends here; {key} opens the next one: {title}")
        if by < 0:
            words = _("the lesson begins here; {key} opens the end of the one before: {title}")
        return words.format(key=key, title=target[0].title)

    def is_done(self, lesson: Lesson) -> bool:
        """Whether every step of a lesson is done."""
        return len(self.progress.of(lesson.name).done & set(range(len(lesson.steps)))) == len(lesson.steps)

    def wished(self) -> dict[str, str]:
        """What the step's own `{set}` says."""
        return {name: value for block in self.step.blocks if isinstance(block, Set) for name, value in block.values}

    def wished_in_all(self) -> dict[str, str]:
        """The state in which the step begins, by the `{set}` of the lesson's steps up to it.

        A new walk keeps the prompt of the one before, and its model where it names none; the rest is as usual.
        """
        values: dict[str, str] = {}
        for step in self.lesson.steps[: self.at + 1]:
            values.pop("keys", None)
            for block in step.blocks:
                if isinstance(block, Set):
                    own = dict(block.values)
                    if own.keys() & WALK_SETTINGS:
                        kept = {"prompt"} if "model" in own else WALK_SETTINGS
                        values = {name: value for name, value in values.items() if name in kept}
                        values.setdefault("lens", "candidates")
                    values |= own
        return values

    # What is done ----------------------------------------------------------------------------------------------------

    def done(self, number: int) -> bool:
        """Whether a gate is done; every other block is."""
        match self.step.blocks[number]:
            case Press(count=count):
                return self.state.counted[number] >= count
            case Task():
                return number in self.state.reached
            case Question(right=right):
                return any(answer in right for answer in self.state.answered.get(number, ()))
        return True

    def gate(self) -> int | None:
        """The number of the first open gate; None where all is done."""
        return next((number for number in range(len(self.step.blocks)) if not self.done(number)), None)

    def pressed(self, action: str) -> None:
        """The key of an action was pressed."""
        self.state.pressed[action] += 1
        for number, block in enumerate(self.step.blocks):
            if isinstance(block, Press) and block.action == action and not self.done(number):
                self.state.counted[number] += 1
                break
            if isinstance(block, Task | Question) and not self.done(number):
                break
        self._note()

    def question(self) -> int | None:
        """The number of the first open question, which need not wait for what stands before; None without one."""
        blocks = enumerate(self.step.blocks)
        return next((at for at, block in blocks if isinstance(block, Question) and not self.done(at)), None)

    def answer(self, answer: int, number: int | None = None) -> bool:
        """Give an answer, from 0, to a question, or to the first open one; whether there is one that has it."""
        number = self.question() if number is None else number
        block = self.step.blocks[number] if number is not None else None
        if number is None or not isinstance(block, Question) or not 0 <= answer < len(block.answers):
            return False
        if self.done(number):
            return False
        given = self.state.answered.setdefault(number, [])
        if answer not in given:
            given.append(answer)
        self._note()
        return True

    @property
    def has_hint(self) -> bool:
        """Whether the step has an open task."""
        return any(isinstance(block, Task) and not self.done(at) for at, block in enumerate(self.step.blocks))

    def hint(self) -> str:
        """Show the next hint of the open task, after the last one its solution; why there is none, or nothing."""
        for number, block in enumerate(self.step.blocks):
            if isinstance(block, Task) and not self.done(number):
                self.state.hints[number] = min(self.state.hints[number] + 1, len(block.hints) + 1)
                return ""
        return _("this step has no open task to give a hint for")

    def _note(self) -> None:
        """Note in the progress that the step is done, where it is."""
        if self.gate() is None:
            self.progress.of(self.lesson.name).done.add(self.at)

    # What is measured ------------------------------------------------------------------------------------------------

    def wanted(self) -> tuple[Wanted, ...]:
        """What is to be measured now: up to the first open gate, and not what has its value already."""
        return tuple(each for number, each in self._reached() if not self._settled(number, each))

    def _reached(self) -> Iterator[tuple[int, Wanted]]:
        """What is measured up to the first open gate, with the number of its block."""
        gate = self.gate()
        for number, block in enumerate(self.step.blocks):
            yield from ((number, each) for each in _measured(block))
            if number == gate:
                return

    def _settled(self, number: int, wanted: Wanted) -> bool:
        """Whether a value stays as it is.

        The checks of a task are measured until it is done, all at once. In the text a value of the walk follows it.
        """
        found = self.state.found.get(wanted)
        if isinstance(self.step.blocks[number], Task):
            return number in self.state.reached
        if found is None or isinstance(found, DifferenceView):
            return found is not None
        if isinstance(self.step.blocks[number], Prose):
            return found.problem is None and not (isinstance(wanted, Expression) and follows(wanted))
        return found.problem is None and found.holds

    def take(self, readings: Readings, *, writing: bool = False) -> None:
        """Take what was measured, unless it is of another step. No task is done while the prompt is written."""
        writing = writing or readings.writing
        if readings.step != self.opening:
            return
        for number, wanted in tuple(self._reached()):
            if wanted in readings.found and not self._settled(number, wanted):
                self.state.found[wanted] = readings.found[wanted]
        gate = self.gate()
        block = self.step.blocks[gate] if gate is not None else None
        if gate is not None and isinstance(block, Task) and (not writing or _names_mode(block)):
            checks = [readings.found.get(check) for check in block.checks]
            if all(isinstance(check, Reading) and check.holds for check in checks):
                self.state.reached.add(gate)
                self._note()


def _names_mode(task: Task) -> bool:
    """Whether a task may be done while the prompt is written; else what is half written or deleted does not count."""
    return any(name == "mode" for check in task.checks for name, _node in calls(check.tree()))


def _measured(block: Block) -> tuple[Wanted, ...]:
    """What a block measures."""
    return (block,) if isinstance(block, Difference) else expressions(block)
