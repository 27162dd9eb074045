"""Reads and writes the text form of stages: `top_k=40,xtc=0.5:0.1,ban=' my';13`. Knows no stage."""

import re
import sys
from typing import Any

from core.errors import UserError
from core.language import _

_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
_ENTRY = re.compile(rf"\s*({_QUOTED}|[0-9]+)\s*([+-]\s*[0-9.]+(?:e[+-]?[0-9]+)?)?\s*", re.IGNORECASE | re.DOTALL)


def split(text: str, separator: str) -> list[str]:
    """The parts of a text between separators that are not within quotes, without spaces around them."""
    parts = [""]
    for match in re.finditer(rf"{_QUOTED}|.", text, re.DOTALL):
        if match[0] == separator:
            parts.append("")
        else:
            parts[-1] += match[0]
    return [part.strip() for part in parts]


def unquoted(text: str) -> str:
    """The text within quotes, with escapes such as `\\n` and `\\x41` resolved. Raises `UserError` for another form."""
    if not re.fullmatch(_QUOTED, text, re.DOTALL):
        raise UserError(_("{text!r} is not a quoted text; write one such as ' my' or '\\n'"), text=text)

    def resolved(match: re.Match[str]) -> str:
        escape = match[1]
        if len(escape) > 1 and (code := int(escape[1:], 16)) <= sys.maxunicode:
            return chr(code)
        if escape in _ESCAPES:
            return _ESCAPES[escape]
        raise UserError(
            _("{escape!r} in {text!r} is not an escape; write \\\\ for a backslash"), escape=match[0], text=text
        )

    return _ESCAPE.sub(resolved, text[1:-1])


def written(value: Any, kind: str) -> str:
    """A value of a knob as text."""
    if kind == "text":
        return repr(value)
    if kind == "number" and float(short := f"{value:g}") == value:
        return short
    return str(value)


def value(text: str, kind: str, form: str) -> Any:
    """The value that a text gives a knob. Raises `UserError` for what is none."""
    if kind == "list":
        return text
    if kind == "text":
        return unquoted(text) if text[:1] in ("'", '"') else text
    try:
        return int(text) if kind == "whole" else float(text)
    except ValueError as error:
        number = _("a whole number") if kind == "whole" else _("a number")
        raise UserError(_("{text!r} is not {number}; write {form}"), text=text, number=number, form=form) from error


def entries(text: str, *, biases: bool, form: str) -> tuple[tuple[int | str, float], ...]:
    """The tokens of a list such as `13+2;' my'-1.5`: each an id or a quoted text, with its bias, or 0 without biases.

    Raises `UserError` for another form.
    """
    found = []
    for part in split(text, ";"):
        match = _ENTRY.fullmatch(part)
        if not match or bool(match[2]) != biases:
            raise UserError(
                _("{part!r} is not {wanted}; write {form}"),
                part=part,
                wanted=_("a token and its bias") if biases else _("a token"),
                form=form,
            )
        token = int(match[1]) if match[1].isdecimal() else unquoted(match[1])
        if token == "":
            raise UserError(_("an empty text is not a token; write {form}"), form=form)
        try:
            bias = float(match[2].replace(" ", "")) if match[2] else 0.0
        except ValueError as error:
            raise UserError(_("{text!r} is not a number; write {form}"), text=match[2], form=form) from error
        found.append((token, bias))
    return tuple(found)
