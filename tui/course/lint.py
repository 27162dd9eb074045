"""Finds the mistakes of lessons without playing them: what `parse` noted, unknown names, and translations that differ.

All mistakes of a folder are found at once, each with its file and line.
"""

import ast
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from core.errors import UserError
from core.language import _
from tui.course import keys, models, parse
from tui.course.expressions import BadExpression, Expression, check, unknown
from tui.course.lesson import (
    KEY,
    Block,
    Claim,
    Code,
    Difference,
    Lesson,
    Mistake,
    Press,
    Prose,
    Question,
    Set,
    Step,
    Task,
    expressions,
)
from tui.course.measurements import signatures
from tui.course.setting import check_setting


def lint(lessons: Sequence[Lesson]) -> list[Mistake]:
    """The mistakes of the lessons of one folder, by file and line."""
    found: list[Mistake] = []
    numbers: dict[int, Lesson] = {}
    for lesson in lessons:
        found += [*lesson.mistakes, *_names(lesson)]
        if other := numbers.get(lesson.number):
            found.append(Mistake(lesson.file, 1, _("{other} has the same number").format(other=other.file.name)))
        numbers[lesson.number] = lesson
    return sorted(found, key=lambda each: (str(each.file), each.line))


def _names(lesson: Lesson) -> Iterator[Mistake]:
    for step in lesson.steps:
        for block in step.blocks:
            for line, text in _wrong(block):
                yield Mistake(lesson.file, line, text)


def _wrong(block: Block) -> Iterator[tuple[int, str]]:
    """What is wrong in a block: the line and the words."""
    for expression in expressions(block):
        try:
            check(expression.text, signatures())
            expression.tree()
        except BadExpression as error:
            yield expression.line, str(error)
    for words in _words(block):
        yield from ((block.line, _no_action(id)) for id in _keys_in(words) if id not in keys.actions())
        if "{{" in words:
            yield block.line, _("a measurement stands in prose, and not in the words of a directive")
    match block:
        case Prose(actions=actions):
            yield from ((block.line, _no_action(id)) for id in actions if id not in keys.actions())
        case Press(action=action) if action not in keys.actions():
            yield block.line, _no_action(action)
        case Task(solution=solution):
            problems = (*map(keys.problem, solution), *map(keys.own_key, solution[:1]))
            yield from ((block.line, text) for text in problems if text)
        case Set(values=values, lines=lines):
            checked = ((line, check_setting(*value)) for line, value in zip(lines, values, strict=True))
            yield from ((line, text) for line, text in checked if text)
        case Difference(before=before, after=after):
            words = _("there is no model {name!r}")
            yield from ((block.line, words.format(name=name)) for name in (before, after) if not models.is_known(name))
        case Code(source=source):
            try:
                ast.parse(source)
            except (SyntaxError, ValueError) as error:
                line = getattr(error, "lineno", None) or 1
                yield block.line + line, _("this is no Python: {reason}").format(reason=getattr(error, "msg", error))


def _words(block: Block) -> Iterator[str]:
    """The words of a directive."""
    match block:
        case Press(text=text) | Claim(text=text):
            yield text
        case Task(text=text, hints=hints):
            yield from (text, *hints)
        case Question(text=text, answers=answers, why=why):
            yield from (text, *answers, why)


def _keys_in(words: str) -> list[str]:
    return [match["action"].strip() for match in KEY.finditer(words)]


def _no_action(id: str) -> str:
    return unknown(_("there is no action {name!r}"), id, keys.actions())


# Translations --------------------------------------------------------------------------------------------------------


def compare(lesson: Lesson, original: Lesson) -> Iterator[Mistake]:
    """Where a translation does something else than its original."""
    if len(lesson.steps) != len(original.steps):
        yield Mistake(lesson.file, 1, _("it has {here} steps, and {file} has {there}").format(
            here=len(lesson.steps), file=original.file, there=len(original.steps)
        ))  # fmt: skip
        return
    for step, other in zip(lesson.steps, original.steps, strict=True):
        yield from _compare_step(lesson.file, step, original.file, other)


def _compare_step(file: Path, step: Step, original: Path, other: Step) -> Iterator[Mistake]:
    here, there = ([block for block in each.blocks if not isinstance(block, Prose)] for each in (step, other))
    for block, meant in zip(here, there, strict=False):
        if _meaning(block) != _meaning(meant):
            words = _("this differs from {file}:{line}, and only words may")
            yield Mistake(file, block.line, words.format(file=original, line=meant.line))
            return
    if len(here) != len(there):
        more = (here if len(here) > len(there) else there)[min(len(here), len(there))]
        words = _("the step has {here} directives and blocks of code, and {file}:{line} has {there}")
        line = more.line if len(here) > len(there) else step.line
        yield Mistake(file, line, words.format(here=len(here), file=original, line=other.line, there=len(there)))
        return
    if _measured(step) != _measured(other):
        words = _("the measurements in the text differ from those of {file}:{line}")
        yield Mistake(file, step.line, words.format(file=original, line=other.line))


def _measured(step: Step) -> list[str]:
    found = [block for block in step.blocks if isinstance(block, Prose)]
    return sorted(f"{each.text}|{each.format}" for block in found for each in block.expressions)


def _meaning(block: Block) -> object:
    """What a block does, without its words."""
    match block:
        case Set(values=values):
            return Set, sorted(values)
        case Press(action=action, count=count):
            return Press, action, count
        case Claim(conditions=conditions):
            return Claim, _texts(conditions)
        case Task(checks=checks, hints=hints, solution=solution):
            return Task, _texts(checks), len(hints), solution
        case Question(answers=answers, right=right):
            return Question, len(answers), right
        case Difference(before=before, after=after):
            return Difference, before, after
        case Code(source=source, output=output):
            try:
                return Code, ast.dump(ast.parse(source)), output
            except (SyntaxError, ValueError):
                return Code, source, output
    return type(block)


def _texts(conditions: Iterable[Expression]) -> list[str]:
    return [condition.text for condition in conditions]


def read_all(folder: Path) -> list[Lesson]:
    """The lessons of a folder, in the order of their names. Raises `UserError` where one cannot be read, or is none."""
    found = [parse.read(file) for file in parse.listed(folder)]
    if not found:
        raise UserError(
            _("there is no lesson in {folder}; a lesson is a file such as 01-first.md").format(folder=folder)
        )
    return found
