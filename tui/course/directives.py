"""The directives of a lesson: each function makes a block of the lines of its body, or notes what is wrong."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from core.language import N_, _
from tui.course.expressions import BadExpression, Expression, tree_of
from tui.course.lesson import SETTINGS, Block, Claim, Difference, Press, Question, Set, Task

Body = Sequence[tuple[int, str]]
"""The lines that are not blank, each with its number in the file."""
_KEYS = re.compile(r'"[^"]*"|\S+')
_ANSWER = re.compile(r"\s*[-*]\s+\[(?P<mark>[ xX])\]\s+(?P<text>.*)")
_COMPARISON = re.compile(r"[<>]=?|==|!=")
_FIELD = re.compile(r"\s*(?P<name>check|hint|solution|why):\s*(?P<value>.*)")


class Reader(Protocol):
    """What reads the file that a directive stands in."""

    def expression(self, text: str, line: int, spec: str = "") -> Expression | None:
        """An expression; None where it is wrong, which is noted."""

    def mistake(self, line: int, text: str) -> None:
        """Note what is wrong in a line."""


def split_keys(text: str) -> tuple[str, ...]:
    """Keys, actions and `"typed texts"`, which spaces separate."""
    return tuple(_KEYS.findall(text))


def set_(line: int, arguments: Sequence[str], body: Body, reader: Reader) -> Block | None:
    """`{set}`: lines `name: value`."""
    values: list[tuple[str, str]] = []
    lines: list[int] = []
    for at, text in body:
        name, colon, value = text.partition(":")
        name = name.strip()
        if not colon or name not in SETTINGS:
            names = ", ".join(SETTINGS)
            reader.mistake(at, _("{name!r} cannot be set; choose from {names}").format(name=name, names=names))
        elif name in dict(values):
            reader.mistake(at, _("{name} is set twice").format(name=name))
        else:
            values.append((name, value.strip()))
            lines.append(at)
    return Set(line, tuple(values), tuple(lines))


def press(line: int, arguments: Sequence[str], body: Body, reader: Reader) -> Block | None:
    """`{press} action count`: the body may say it in words."""
    count = arguments[1] if len(arguments) > 1 else "1"
    if len(arguments) > 2 or not count.isdecimal() or not 1 <= int(count) <= 99:
        reader.mistake(line, _("{press} takes the id of an action, and how often, 1 to 99").format(press="{press}"))
        return None
    return Press(line, arguments[0], int(count), " ".join(text.strip() for _at, text in body))


def _is_expression(text: str) -> bool:
    try:
        tree_of(text)
    except BadExpression:
        return False
    return True


def claim(line: int, arguments: Sequence[str], body: Body, reader: Reader) -> Block | None:
    """`{claim}`: words, which may be missing, then conditions. A line with a comparison is a condition."""
    last = len(body) - 1
    words = 0
    while words < last and not _is_expression(body[words][1]) and not _COMPARISON.search(body[words][1]):
        words += 1
    conditions = [reader.expression(text.strip(), at) for at, text in body[words:]]
    if not body:
        reader.mistake(line, _("the claim has no condition, such as entropy_bits < 1"))
    found = tuple(condition for condition in conditions if condition)
    return Claim(line, " ".join(text.strip() for _at, text in body[:words]), found) if found else None


def _fields(body: Body) -> tuple[list[tuple[int, str]], list[tuple[int, str, str]]]:
    """The lines before the first field, and the fields; lines after a field belong to it."""
    words, fields = list[tuple[int, str]](), list[tuple[int, str, str]]()
    for at, text in body:
        if match := _FIELD.fullmatch(text):
            fields.append((at, match["name"], match["value"].strip()))
        elif fields:
            fields[-1] = (*fields[-1][:2], f"{fields[-1][2]} {text.strip()}".strip())
        else:
            words.append((at, text.strip()))
    return words, fields


def task(line: int, arguments: Sequence[str], body: Body, reader: Reader) -> Block | None:
    """`{task}`: words, then `check:`, `hint:` and `solution:`."""
    words, fields = _fields(body)
    checks = [reader.expression(value, at) for at, name, value in fields if name == "check"]
    hints = tuple(value for _at, name, value in fields if name == "hint")
    solutions = [value for _at, name, value in fields if name == "solution"]
    if not words:
        reader.mistake(line, _("the task has no words that say what to reach"))
    if not checks:
        reader.mistake(line, _("the task has no check, such as check: entropy_bits < 1"))
    if len(solutions) != 1 or not solutions[0]:
        reader.mistake(line, _("the task has no solution, such as solution: space space"))
    for at, name, _value in fields:
        if name == "why":
            reader.mistake(at, _("a task has check, hint and solution, and a question has why"))
    found = tuple(check for check in checks if check)
    keys = tuple(key for solution in solutions for key in split_keys(solution))
    return Task(line, " ".join(text for _at, text in words), found, hints, keys) if found else None


def question(line: int, arguments: Sequence[str], body: Body, reader: Reader) -> Block | None:
    """`{question}`: words, answers `- [ ]` or `- [x]`, and `why:`."""
    words, answers, why = list[str](), list[str](), ""
    right: set[int] = set()
    for at, text in body:
        if match := _ANSWER.fullmatch(text):
            if match["mark"] != " ":
                right.add(len(answers))
            answers.append(match["text"].strip())
        elif match := _FIELD.fullmatch(text):
            why = match["value"].strip()
            if match["name"] != "why":
                reader.mistake(at, _("a question has answers and why, and a task has check, hint and solution"))
        elif why:
            why = f"{why} {text.strip()}"
        elif answers:
            answers[-1] = f"{answers[-1]} {text.strip()}"
        else:
            words.append(text.strip())
    if not words:
        reader.mistake(line, _("the question has no words"))
    if not 2 <= len(answers) <= 9 or not right:
        reader.mistake(line, _("a question has 2 to 9 answers - [ ], and - [x] for a right one"))
        return None
    return Question(line, " ".join(words), tuple(answers), frozenset(right), why)


def difference(line: int, arguments: Sequence[str], body: Body, reader: Reader) -> Block | None:
    """`{difference} A B`."""
    if len(arguments) != 2:
        reader.mistake(line, _("a difference names two models, such as model2-trained model3-trained"))
        return None
    return Difference(line, *arguments)


Directive = Callable[[int, Sequence[str], Body, Reader], Block | None]
DIRECTIVES: Mapping[str, Directive] = {
    "set": set_,
    "press": press,
    "claim": claim,
    "task": task,
    "question": question,
    "difference": difference,
}
NEEDS: Mapping[str, str] = {
    "press": N_("the id of an action, such as walk.step"),
    "difference": N_("two models, such as model2-trained model3-trained"),
}
"""The directives that have arguments, and which."""
