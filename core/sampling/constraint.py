"""Constraints as a person gives them: a text, several texts, a file, or a line. Needs no NumPy and no torch."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from core.bounded import expanded, is_file
from core.constraints.source import LONGEST, NAMES, Kind
from core.errors import UserError
from core.language import N_, _
from core.sampling.sampler import Sampler
from core.sampling.stages.choice import Choice
from core.sampling.stages.constraint import Constraint
from core.sampling.stages.grammar import Grammar
from core.sampling.stages.json_schema import JsonSchema
from core.sampling.stages.regex import Regex

KINDS: Final[dict[Kind, type[Constraint]]] = {
    "regex": Regex,
    "choice": Choice,
    "json": JsonSchema,
    "grammar": Grammar,
}
FORMS = N_("regex [0-9]+, choice ' yes';' no', json FILE or grammar FILE")


def from_text(kind: Kind, text: str) -> Constraint:
    """The constraint of a text. Raises `UserError` for one that is empty or does not compile."""
    if not text:
        raise UserError(_("the {constraint} is empty; write what the text must match"), constraint=_(NAMES[kind]))
    return KINDS[kind](text=text)


def from_texts(texts: Sequence[str]) -> Constraint:
    """The constraint to one of several texts. Raises `UserError` for an empty one."""
    return from_text("choice", ";".join(map(repr, texts)))


def from_file(kind: Kind, path: Path) -> Constraint:
    """The constraint in a file. Raises `UserError` if it cannot be read or does not compile."""
    try:
        if not is_file(expanded(path)):
            raise UserError(
                _("{path} is not a file; give the path of a {constraint}"), path=path, constraint=_(NAMES[kind])
            )
        with expanded(path).open("rb") as file:
            content = file.read(LONGEST + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise UserError(
            _("{path} cannot be read: {reason}; give the path of a {constraint}"),
            path=path,
            reason=error.strerror,
            constraint=_(NAMES[kind]),
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            _("{path} is not UTF-8 text: byte {number} is invalid; convert it first"), path=path, number=error.start + 1
        ) from error
    try:
        return from_text(kind, text)
    except UserError as error:
        raise UserError(f"{path}: ", *error.parts) from error


def parse(line: str, start: int = 0) -> Constraint | None:
    """The constraint of a line in the forms of `FORMS`, from generated token `start` on; None for an empty line.

    Raises `UserError` for another form, or for what does not compile.
    """
    name, _unused, text = line.strip().partition(" ")
    if not name:
        return None
    kind = next((each for each in KINDS if each == name), None)
    if kind is None or not text.strip():
        raise UserError(_("{line!r} is not a constraint; write one such as {forms}"), line=line.strip(), forms=_(FORMS))
    file = kind in ("json", "grammar")
    found = from_file(kind, Path(text.strip())) if file else from_text(kind, text.strip())
    return replace(found, start=start)


def constrained(sampler: Sampler, constraint: Constraint | None) -> Sampler:
    """The sampler with this constraint in the place of all it has."""
    others = replace(sampler, stages=tuple(each for each in sampler.stages if not isinstance(each, Constraint)))
    return others if constraint is None else others.with_stage(constraint)
