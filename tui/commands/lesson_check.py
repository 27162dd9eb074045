"""Plays lessons on the real app without a screen, and runs their Python: what does not hold, by file and line."""

import ast
import asyncio
import contextlib
import io
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from core.errors import UserError
from core.language import _
from tui.course import keys
from tui.course.difference import DifferenceView
from tui.course.expressions import Expression
from tui.course.lesson import Block, Claim, Code, Difference, Lesson, Mistake, Press, Prose, Question, Set, Task
from tui.course.measuring import Reading
from tui.wording import spell_without_keys

PATIENCE = 600.0
"""Seconds after which the app must have come to rest; kernels that a busy machine compiles take minutes."""
SIZE = (140, 44)
"""Columns and lines of the screen that nobody sees."""
MOST_DIALOGS = 4
"""Screens over the panels that are closed at the end of a step."""


class LessonCheck:
    """Plays lessons in one app. `app` is a `TokenwalkApp` that has not run yet."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._found: list[Mistake] = []
        """What does not hold in the lesson that is played."""

    async def play(self, lessons: Iterable[Lesson], done: Callable[[Lesson, float, list[Mistake]], None]) -> None:
        """Play lessons; `done` is told of each one, its seconds, and what does not hold."""
        try:
            async with self._app.run_test(size=SIZE) as pilot:
                self._pilot = pilot
                await self._rest()
                self._app.walk.lessons.load()
                for lesson in lessons:
                    began, self._found = time.monotonic(), []
                    await self._play(lesson)
                    self._found += run_python(lesson)
                    done(lesson, time.monotonic() - began, self._found)
        finally:
            self._app.runner.close(PATIENCE)  # a thread within torch as the interpreter ends is a segmentation fault

    @property
    def _player(self) -> Any:
        return self._app.walk.lessons.player

    async def _play(self, lesson: Lesson) -> None:
        for at, step in enumerate(lesson.steps):
            self._app.walk.lessons.open(lesson, at)
            await self._rest()
            if problem := self._app.walk.lessons.problem:
                line = next((block.line for block in step.blocks if isinstance(block, Set)), step.line)
                self._note(lesson, line, spell_without_keys(problem))
                return
            for number, block in enumerate(step.blocks):
                await self._block(lesson, number, block)
            for _number in range(MOST_DIALOGS):
                if self._app.screen is not self._app.walk:
                    await self._press("escape")

    async def _block(self, lesson: Lesson, number: int, block: Block) -> None:
        match block:
            case Prose(expressions=expressions):
                for expression in expressions:
                    self._measured(lesson, expression)
            case Claim(conditions=conditions):
                for condition in conditions:
                    self._holds(lesson, condition)
            case Press(action=action, count=count):
                for key in keys.pressed(f"{action}*{count}"):
                    await self._press(key)
                if not self._player.done(number):
                    words = _("the key of {action} does not act here").format(action=action)
                    self._give_up(lesson, number, block.line, words)
            case Task():
                await self._task(lesson, number, block)
            case Question(right=right):
                self._app.walk.lessons.answer(min(right))
                await self._rest()
            case Difference():
                found = self._player.state.found.get(block)
                if not isinstance(found, DifferenceView):
                    self._note(lesson, block.line, self._reason(found))

    async def _task(self, lesson: Lesson, number: int, block: Task) -> None:
        if self._player.done(number):
            self._note(lesson, block.line, _("the task is done before a key is pressed"))
            return
        for word in block.solution:
            for key in keys.pressed(word):
                await self._press(key)
        end = time.monotonic() + PATIENCE
        while not self._player.done(number) and self._works() and time.monotonic() < end:
            await asyncio.sleep(0.02)
        if not self._player.done(number):
            for check in block.checks:
                self._holds(lesson, check, _("after the solution, {text}"))
            self._give_up(lesson, number, block.line, _("the solution does not reach the task"))

    def _works(self) -> bool:
        frame = self._app.state.frame
        return frame.activity != "idle" or (frame.training is not None and frame.training.state == "training")

    def _give_up(self, lesson: Lesson, number: int, line: int, text: str) -> None:
        """Note a gate that does not open, and open it, so that what stands after it is measured too."""
        self._note(lesson, line, text)
        self._player.state.counted[number] = 10**6
        self._player.state.reached.add(number)

    # What was measured -----------------------------------------------------------------------------------------------

    def _measured(self, lesson: Lesson, expression: Expression) -> None:
        found = self._player.state.found.get(expression)
        if not isinstance(found, Reading) or found.problem:
            self._note(lesson, expression.line, f"{expression.text}: {self._reason(found)}")

    def _holds(self, lesson: Lesson, condition: Expression, frame: str = "{text}") -> None:
        found = self._player.state.found.get(condition)
        if isinstance(found, Reading) and not found.problem and not found.holds:
            words = _("{condition} does not hold: {value}").format(condition=condition.text, value=found.shown)
            self._note(lesson, condition.line, frame.format(text=words))
        elif not isinstance(found, Reading) or found.problem:
            self._note(lesson, condition.line, frame.format(text=f"{condition.text}: {self._reason(found)}"))

    def _reason(self, found: object) -> str:
        problem = found.problem if isinstance(found, Reading) else None
        return spell_without_keys(problem) if problem else _("it was not measured")

    def _note(self, lesson: Lesson, line: int, text: str) -> None:
        self._found.append(Mistake(lesson.file, line, text))

    # The app ---------------------------------------------------------------------------------------------------------

    async def _press(self, key: str) -> None:
        self._app.post_message(keys.event(key))
        await self._rest()

    async def _rest(self) -> None:
        """Wait until all that was asked for is done and drawn."""
        end, calm = time.monotonic() + PATIENCE, 0
        while calm < 2:
            await self._pilot.pause(0.001)
            lessons = self._app.walk.lessons
            calm = calm + 1 if self._app.runner.at_rest and not (lessons.playing and lessons.waiting) else 0
            if time.monotonic() > end:
                raise UserError(_("the app did not come to rest within {seconds:.0f} seconds"), seconds=PATIENCE)


# Python --------------------------------------------------------------------------------------------------------------


def run_python(lesson: Lesson) -> Iterator[Mistake]:
    """Run the Python blocks of a lesson in one namespace, as a notebook does; where they fail or print otherwise."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for step in lesson.steps:
        for block in step.blocks:
            if isinstance(block, Code):
                printed, problem = run_cell(block.source, names, f"{lesson.file}:{block.line}")
                if problem:
                    line, words = problem
                    yield Mistake(lesson.file, block.line + line, words)
                    return
                if block.output is not None and _lines(printed) != _lines(block.output):
                    yield _difference(lesson, block, printed)


def run_cell(source: str, names: dict[str, Any], file: str) -> tuple[str, tuple[int, str] | None]:
    """What a cell prints, with the value of a last expression; and the line and words of an error."""
    tree = ast.parse(source)
    last = tree.body[-1] if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    before = ast.Module(tree.body[:-1] if last else tree.body, [])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            exec(compile(before, file, "exec"), names)
            if last:
                value = eval(compile(ast.Expression(last.value), file, "eval"), names)
                if value is not None:
                    printed.write(f"{value!r}\n")
        except Exception as error:
            return printed.getvalue(), (_line_of(error, file), f"{type(error).__name__}: {error}".split("\n")[0])
    return printed.getvalue(), None


def _line_of(error: Exception, file: str) -> int:
    """The last line of the cell on the way to an error, from 1."""
    trace, line = error.__traceback__, 1
    while trace:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _difference(lesson: Lesson, block: Code, printed: str) -> Mistake:
    """The first line that differs."""
    here, said = _lines(printed), _lines(block.output or "")
    pairs = enumerate(zip(here, said, strict=False))
    at = next((number for number, (a, b) in pairs if a != b), min(len(here), len(said)))
    words = _("the code prints {printed!r}, and the lesson says {said!r}").format(
        printed=here[at] if at < len(here) else "", said=said[at] if at < len(said) else ""
    )
    return Mistake(lesson.file, block.output_line + 1 + at, words)
