"""Owns the process that fills in chat templates: a program of its own, run as a file, that imports jinja2 alone.

A template is a program from a stranger. Jinja2's sandbox takes the machine from it; a process of its own, which may be
ended at any moment and has little memory, takes the endless loop and the endless text.
"""

import json
import sys
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY = 1_000_000_000
"""Bytes the process may have, where the system can hold it to that."""


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, **given: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **given)


def _strftime_now(layout: str) -> str:
    return datetime.now().strftime(layout)


def render(template: str, values: dict[str, Any], longest: int) -> str:
    """The template filled in, in the environment that chat templates are written for (that of transformers)."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _tojson
    environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    parts, length = [], 0
    for part in environment.from_string(template).generate(**values):
        length += len(part)
        if length > longest:
            raise TemplateError(f"it makes more than {longest:,} characters")
        parts.append(part)
    return "".join(parts)


def _limit() -> None:
    try:
        import resource  # noqa: PLC0415
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def main() -> None:
    """One request on standard input, one answer on standard output, both JSON."""
    asked = json.load(sys.stdin)
    _limit()
    try:
        answer = {"text": render(asked["template"], asked["values"], asked["longest"])}
    except MemoryError:
        answer = {"problem": "it wants too much memory"}
    except Exception as error:  # a stranger's program may raise anything
        answer = {"problem": f"{type(error).__name__}: {error}"[:300]}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
