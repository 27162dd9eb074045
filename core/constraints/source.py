"""What a text must match, as a person writes it, translated for llguidance. Needs no NumPy and no torch."""

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from core.errors import UserError
from core.language import N_, _

Kind = Literal["regex", "choice", "json", "grammar"]
NAMES: dict[Kind, str] = {
    "regex": N_("regular expression"),
    "choice": N_("choice"),
    "json": N_("JSON schema"),
    "grammar": N_("grammar"),
}
LONGEST = 200_000
"""Characters at most."""
JSON = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""One way to write each value, with spaces as Python's `json.dumps` has them; `x-guidance` in a schema changes it."""
_DECLARES = re.compile(r"^\s*[\w-]+\s*::=", re.MULTILINE)
_REASON = re.compile(r"^error: (.+)$", re.MULTILINE)


@lru_cache(maxsize=32)
def grammar_of(kind: Kind, text: str) -> str:
    """The grammar, as llguidance reads it, of a text of this kind.

    `regex` is a regular expression of Rust's regex crate for the whole text, `choice` texts as a JSON list, `json` a
    JSON schema, `grammar` a grammar in llguidance's form of Lark, or in llama.cpp's GBNF. Raises `UserError` for one
    that does not compile, in one line.
    """
    from llguidance import LLMatcher  # noqa: PLC0415  # 20 ms, and few walks have a constraint

    if not text:
        raise UserError(_("the {constraint} is empty; write what the text must match"), constraint=_(NAMES[kind]))
    if len(text) > LONGEST:
        raise UserError(
            _("the {constraint} has {count:,} characters; {limit:,} are allowed"),
            constraint=_(NAMES[kind]),
            count=len(text),
            limit=LONGEST,
        )
    try:
        grammar = _translated(kind, text)
    except Exception as error:  # the converter of GBNF raises plain exceptions
        raise _refused(kind, text, str(error)) from error
    problem = LLMatcher.validate_grammar(grammar)
    if problem and not problem.startswith("WARNING"):
        raise _refused(kind, text, problem)
    return grammar


def _translated(kind: Kind, text: str) -> str:
    """A grammar in Lark. Without `no_forcing` a text that can go on in one way only must do so in certain tokens."""
    return f'%llguidance {{"no_forcing": true}}\n{_rules(kind, text)}'


def _rules(kind: Kind, text: str) -> str:
    from llguidance import regex_to_lark  # noqa: PLC0415
    from llguidance.gbnf_to_lark import gbnf_to_lark  # noqa: PLC0415

    if kind == "regex":
        return f"start: /{regex_to_lark(text, '')}/"
    if kind == "choice":
        return f"start: {' | '.join(map(json.dumps, choices(text)))}"
    if kind == "json":
        schema = json.loads(text)
        schema = schema if isinstance(schema, dict) else {"allOf": [schema]}
        return f"start: %json {json.dumps(schema | {'x-guidance': JSON | schema.get('x-guidance', {})})}"
    return gbnf_to_lark(text) if _DECLARES.search(text) else text


def choices(text: str) -> Sequence[str]:
    """The texts of a JSON list. Raises `ValueError` for anything else, an empty list, and an empty text."""
    found = json.loads(text)
    if not isinstance(found, list) or not found or not all(isinstance(each, str) and each for each in found):
        raise ValueError("it must be a list of texts that are not empty")
    return found


def _refused(kind: Kind, text: str, problem: str) -> UserError:
    """The error for what does not compile, with the reason out of several lines of `problem`."""
    reason = _REASON.search(problem)
    said = reason[1] if reason else problem.split("\n", 1)[0]
    said = re.sub(r"^(at )?\d+\(\d+\): ", "", said).strip()
    shown = text if len(text) <= 60 else text[:59] + "…"
    return UserError(
        _("the {constraint} {text!r} is invalid: {reason}; change it"),
        constraint=_(NAMES[kind]),
        text=shown,
        reason=said,
    )
