"""Measures what a step shows, on the thread of the models: one measurement at a time, so that keys come between."""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.progress import Progress
from tui.course.expressions import BadExpression, Expression, calls, value_text
from tui.course.lesson import Difference
from tui.course.measurements import MEASUREMENTS, Bench, Here, Seen, value_of

if TYPE_CHECKING:
    from core.walk.session import Session
    from tui.course.difference import DifferenceView


OF_THE_WALK = ("app", "distribution", "sampler", "walk")
"""Modules of measurements whose values in the text follow the walk."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a measurement found."""

    shown: str = ""
    """The value; of a condition the measured sides of its comparisons."""
    holds: bool = False
    problem: UserError | None = None
    """Why nothing was measured."""


Wanted = Expression | Difference
Found = Mapping[Wanted, "Reading | DifferenceView"]


@dataclass(frozen=True, slots=True)
class Readings:
    """The answers to what a step wants to know."""

    step: int
    """The number of the step's opening."""
    found: Found
    writing: bool = False
    """Whether the prompt was being written."""


def follows(expression: Expression) -> bool:
    """Whether a value is one of the walk at the token looked at: it is cheap, and measured again as that changes."""
    names = [(name, node) for name, node in calls(expression.tree()) if name in MEASUREMENTS]
    elsewhere = any(argument.arg in ("model", "prompt") for _name, node in names for argument in _keywords(node))
    return not elsewhere and any(
        MEASUREMENTS[name].__module__.rpartition(".")[2] in OF_THE_WALK for name, _node in names
    )


def _keywords(node: ast.expr) -> list[ast.keyword]:
    return node.keywords if isinstance(node, ast.Call) else []


def measuring(
    step: int, wanted: Sequence[Wanted], seen: Seen, bench: Bench
) -> Callable[["Session"], Iterator[Progress | Readings]]:
    """An operation that measures what is wanted, and answers with ever more readings."""

    def ask(session: "Session") -> Iterator[Progress | Readings]:
        here, found = Here(session, seen, bench), dict[Wanted, Any]()
        for number, each in enumerate(wanted):
            yield Progress(number, len(wanted))
            found[each] = _difference(each, here) if isinstance(each, Difference) else reading(each, here)
            yield Readings(step, dict(found), seen.mode == "write")

    return ask


def _difference(block: Difference, here: Here) -> "Reading | DifferenceView":
    from tui.course.difference import difference

    try:
        return difference(block, here)
    except UserError as error:
        return Reading(problem=error)


def reading(expression: Expression, here: Here) -> Reading:
    """Measure one expression."""
    try:
        value = value_of(expression.text, here)
        holds = bool(value)
        if expression.format or not _comparisons(expression):
            return Reading(expression.shown(value), holds)
        return Reading(" · ".join(value_text(value_of(side, here)) for side in _sides(expression)), holds)
    except UserError as error:
        return Reading(problem=error)
    except BadExpression as error:
        return Reading(problem=UserError(str(error)))
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        words = (str(error).splitlines() or [type(error).__name__])[0]
        return Reading(problem=UserError(f"{expression.text}: {words}"))


def _comparisons(expression: Expression) -> list[ast.Compare]:
    return [node for node in ast.walk(expression.tree()) if isinstance(node, ast.Compare)]


def _sides(expression: Expression) -> Iterator[str]:
    """The sides of comparisons that are measured; without a comparison the whole expression."""
    found = dict.fromkeys(
        ast.unparse(side)
        for compare in _comparisons(expression)
        for side in (compare.left, *compare.comparators)
        if any(name in MEASUREMENTS for name, _node in calls(side))
    )
    yield from found or (expression.text,)
