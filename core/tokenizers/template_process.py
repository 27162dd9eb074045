"""The program that renders chat templates in a process of its own; it imports only jinja2.

A template is a program of unknown origin. Jinja2's sandbox keeps it from files and Python objects; the process, which
has a time and memory limit, bounds endless loops and endless text.
"""

import json
import sys
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY = 1_000_000_000
"""Limit of the process in bytes, on systems that support one."""


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _strftime_now(layout: str) -> str:
    return datetime.now().strftime(layout)


def render(template: str, values: dict[str, Any], longest: int) -> str:
    """The rendered template. Environment, filters and functions are those that transformers gives templates."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _tojson
    environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    parts, length = [], 0
    for part in environment.from_string(template).generate(**values):
        length += len(part)
        if length > longest:
            raise TemplateError(f"its text has more than {longest:,} characters")
        parts.append(part)
    return "".join(parts)


def _limit_memory() -> None:
    try:
        import resource  # noqa: PLC0415
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def main() -> None:
    """Read a request from standard input and write the answer to standard output, both JSON."""
    request = json.load(sys.stdin)
    _limit_memory()
    try:
        answer = {"text": render(request["template"], request["values"], request["longest"])}
    except MemoryError:
        answer = {"problem": "it needs too much memory"}
    except Exception as error:  # a template may raise anything
        answer = {"problem": f"{type(error).__name__}: {error}"[:300]}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
