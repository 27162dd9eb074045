"""The step of a lesson in words: the lines of its panel, whose marks are said by the kind of their block."""

import re
from collections.abc import Iterator
from itertools import groupby

from rich.style import Style

from core.language import N_, _
from tui.course.lesson import Block, Claim, Code, Press, Question, Task
from tui.course.page import Line, Page
from tui.drawing.spoken import formula, spoken
from tui.plain.commands import said
from tui.plain.spoken_app import Spoken

PRINTED = "│"
"""What stands before a line that code has printed."""
WIDTH = 2000
"""Cells of a line, so that a paragraph is one."""
GATE_MARKS = {"✓": N_("done:"), "▸": N_("task:"), "○": N_("to do:"), "?": N_("question:"), "↳": N_("hint:")}
"""What stands before a wait, a task or a question."""
CLAIM_MARKS = {"✓": N_("holds:"), "✗": N_("does not hold:"), "·": N_("not measured yet:"), "!": N_("problem:")}


def lesson_lines(app: Spoken) -> Iterator[str]:
    """The whole step, with what is measured and done so far."""
    lessons = app.walk.lessons
    player = lessons.player
    assert player is not None
    place = _("lesson {number}, {title}, step {step} of {steps}").format(
        number=player.lesson.number, title=player.lesson.title, step=player.at + 1, steps=len(player.lesson.steps)
    )
    yield spoken(place)
    problem = app.spell(lessons.problem) if lessons.problem else ""
    page = Page(player, lambda _name: Style.null(), lambda id: _key(app, id), app.spell)
    for number, lines in groupby(page.lines(WIDTH, problem), key=lambda line: line.block):
        block = None if number is None else player.step.blocks[number]
        yield from filter(None, (_said(line, block) for line in lines))


def _key(app: Spoken, name: str) -> str:
    """The key of an action as it is said; another name is that of a key."""
    keys = app.settings.keys
    from tui.course.keys import actions  # noqa: PLC0415

    return said((keys.get(name) or actions().get(name, name)).partition(",")[0])


def _said(line: Line, block: Block | None) -> str:
    text = line.text.plain.strip()
    if isinstance(block, Code) and text.startswith(PRINTED):
        return _("it prints {text}").format(text=spoken(text.removeprefix(PRINTED)))
    if isinstance(block, Code):
        return spoken(text)
    mark, _space, rest = text.partition(" ")
    marks = GATE_MARKS if isinstance(block, Press | Task | Question) else CLAIM_MARKS
    if line.answer is not None or mark not in marks or not rest:
        return _with_value(text, block)
    return f"{_(marks[mark])} {_with_value(rest, block)}"


def _with_value(text: str, block: Block | None) -> str:
    """A line whose second column is named: the value of a condition, or the key that is pressed."""
    words, *columns = re.split(" {2,}", text)
    if columns and isinstance(block, Claim | Task):
        columns = [_("now {value}").format(value=", ".join(columns))]
    return spoken(", ".join([formula(words.rstrip(".")), *columns]) if columns else formula(text))
