"""Expressions of lessons: a small part of Python over measurements. A lesson may be a stranger's, so nothing else runs.

Allowed are numbers, texts, tuples, `+ - * / // % **`, comparisons, `and or not`, the functions of `FUNCTIONS`, and
measurements with constant or computed arguments.
"""

import ast
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from inspect import Signature
from typing import Any

from core.language import _

LONGEST = 400
"""Characters of an expression."""
LARGEST = 1e18
"""The largest whole number that an expression may compute."""

Lookup = Callable[[str, tuple[Any, ...], dict[str, Any]], Any]
"""The value of a measurement: its name, arguments and named arguments."""

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "round": round,
    "min": min,
    "max": max,
    "log": math.log,
    "log2": math.log2,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "len": len,
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_NODES = (
    ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Call, ast.keyword, ast.Tuple, ast.BinOp, ast.UnaryOp,
    ast.BoolOp, ast.And, ast.Or, ast.Not, ast.USub, ast.UAdd, ast.Compare, *_ARITHMETIC, *_COMPARISONS,
)  # fmt: skip


class BadExpression(ValueError):
    """Why an expression cannot be used. Its text is one line."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition, or a value with a format."""

    text: str
    line: int = 0
    """Where it stands in its file, from 1."""
    format: str = ""
    """A Python format specification, such as `.1%`; empty for the usual one."""

    def tree(self) -> ast.expr:
        """The checked tree of the expression. Raises `BadExpression`."""
        return tree_of(self.text)

    def shown(self, value: object) -> str:
        """A value as the panel shows it. Raises `BadExpression` where the format does not suit it."""
        if self.format:
            try:
                return format(value, self.format)
            except (ValueError, TypeError) as error:
                raise BadExpression(
                    _("the format {format!r}: {error}").format(format=self.format, error=error)
                ) from error
        return value_text(value)


def value_text(value: object) -> str:
    """A value with about four digits."""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    if isinstance(value, tuple):
        return f"({', '.join(map(value_text, value))})"
    return f'"{value}"' if isinstance(value, str) else str(value)


def tree_of(text: str) -> ast.expr:
    """The tree of an expression that has only allowed parts. Raises `BadExpression`."""
    if len(text) > LONGEST:
        raise BadExpression(_("it has more than {most} characters").format(most=LONGEST))
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise BadExpression(_("{text!r} is no expression: {reason}").format(text=text, reason=reason)) from error
    for node in ast.walk(tree):
        if not isinstance(node, _NODES) or (isinstance(node, ast.Call) and not isinstance(node.func, ast.Name)):
            raise BadExpression(_("{text!r} may not contain {part!r}").format(text=text, part=_part(text, node)))
        if isinstance(node, ast.Constant) and not isinstance(node.value, bool | int | float | str):
            raise BadExpression(_("{text!r} may not contain {part!r}").format(text=text, part=_part(text, node)))
        if isinstance(node, ast.Call) and any(keyword.arg is None for keyword in node.keywords):
            raise BadExpression(_("{text!r} may not contain {part!r}").format(text=text, part="**"))
    return tree.body


def _part(text: str, node: ast.AST) -> str:
    return ast.get_source_segment(text.strip(), node) or type(node).__name__


def calls(tree: ast.expr) -> Iterator[tuple[str, ast.Call | ast.Name]]:
    """The measurements and functions that an expression uses."""
    functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, node
        elif isinstance(node, ast.Name) and id(node) not in functions:
            yield node.id, node


def check(text: str, signatures: Mapping[str, Signature]) -> None:
    """Raise `BadExpression` where an expression uses a measurement that there is not, or with wrong arguments."""
    for name, node in calls(tree_of(text)):
        if name in FUNCTIONS:
            if isinstance(node, ast.Name):
                raise BadExpression(_("{name} needs an argument").format(name=name))
            continue
        if name not in signatures:
            raise BadExpression(unknown(_("there is no measurement {name!r}"), name, signatures))
        arguments = node.args if isinstance(node, ast.Call) else []
        named = {str(each.arg): each.value for each in node.keywords} if isinstance(node, ast.Call) else {}
        try:
            signatures[name].bind(*arguments, **named)
        except TypeError as error:
            raise BadExpression(_("{name}{signature}: {error}").format(
                name=name, signature=signatures[name], error=error
            )) from error  # fmt: skip


def unknown(words: str, name: str, known: Iterable[str]) -> str:
    """What is said of an unknown name, with those that are near, or all."""
    near = get_close_matches(name, known, 3, 0.5)
    more = _("did you mean {names}?") if near else _("choose from {names}")
    return f"{words.format(name=name)}; {more.format(names=', '.join(near or sorted(known)))}"


def evaluate(text: str, lookup: Lookup) -> Any:
    """The value of an expression. Raises `BadExpression`, and what `lookup` raises."""
    tree = tree_of(text)
    try:
        return _value(tree, lookup)
    except (ArithmeticError, TypeError, ValueError) as error:
        if isinstance(error, BadExpression) or hasattr(error, "parts"):
            raise
        raise BadExpression(_("{text!r} cannot be computed: {error}").format(text=text, error=error)) from error


def _value(node: ast.expr, lookup: Lookup) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Tuple(elts=parts):
            return tuple(_value(part, lookup) for part in parts)
        case ast.Name(id=name):
            return lookup(name, (), {})
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=named):
            values = tuple(_value(argument, lookup) for argument in arguments)
            by_name = {str(each.arg): _value(each.value, lookup) for each in named}
            return FUNCTIONS[name](*values, **by_name) if name in FUNCTIONS else lookup(name, values, by_name)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, lookup)
        case ast.UnaryOp(op=sign, operand=operand):
            value = _number(_value(operand, lookup))
            return -value if isinstance(sign, ast.USub) else value
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_value(part, lookup) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_value(part, lookup) for part in parts)
        case ast.BinOp(left=left, op=op, right=right):
            return _combined(op, _number(_value(left, lookup)), _number(_value(right, lookup)))
        case ast.Compare(left=left, ops=ops, comparators=rights):
            return _compared(_value(left, lookup), ops, rights, lookup)
    raise BadExpression(type(node).__name__)


def _number(value: object) -> float:
    if isinstance(value, int | float):
        return value
    raise BadExpression(_("{value!r} is no number").format(value=value))


def _combined(op: ast.operator, left: float, right: float) -> float:
    if isinstance(op, ast.Pow) and (abs(right) > 64 or abs(left) > 1e6):
        raise BadExpression(_("{left} ** {right} is too large").format(left=left, right=right))
    value: float = _ARITHMETIC[type(op)](left, right)
    if isinstance(value, complex) or (isinstance(value, int) and abs(value) > LARGEST):
        raise BadExpression(_("{value} is too large").format(value=value))
    return value


def _compared(left: Any, ops: list[ast.cmpop], rights: list[ast.expr], lookup: Lookup) -> bool:
    for op, right in zip(ops, rights, strict=True):
        value = _value(right, lookup)
        if not _COMPARISONS[type(op)](left, value):
            return False
        left = value
    return True
