"""The program that renders chat templates in a process of its own; it imports only jinja2.

A template is a program of unknown origin. Jinja2's sandbox keeps it from files and Python objects; the process, which
has a time and memory limit, bounds endless loops and endless text.
"""

import json
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY = 1_000_000_000
"""Limit of the process in bytes, on systems that support one."""


class TooLong(Exception):
    """The text of a template has more characters than it may have."""


class GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}`, which marks what an assistant says in training. Its body is rendered."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    def _render(self, caller: Callable[[], str]) -> str:
        return caller()


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _strftime_now(layout: str) -> str:
    return datetime.now().strftime(layout)


def render(template: str, values: dict[str, Any], longest: int) -> str:
    """The rendered template. Environment, filters and functions are those that transformers gives templates."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    parts, length = [], 0
    for part in environment.from_string(template).generate(**values):
        length += len(part)
        if length > longest:
            raise TooLong
        parts.append(part)
    return "".join(parts)


def _limit_memory() -> None:
    try:
        import resource  # noqa: PLC0415
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def answer(request: dict[str, Any]) -> dict[str, str]:
    """The text that the template makes of each set of values; a set after the first may have none.

    `problem` is what the template or jinja2 says; `limit` names one that was reached, which the caller puts in words.
    """
    texts: dict[str, str] = {}
    for name, values in request["values"].items():
        try:
            texts[name] = render(request["template"], values, request["longest"])
        except MemoryError:
            texts.setdefault("limit", "memory")
        except TooLong:
            texts.setdefault("limit", "length")
        except Exception as error:  # a template may raise anything
            texts.setdefault("problem", f"{type(error).__name__}: {error}"[:300])
    return texts


def main() -> None:
    """Read a request from standard input and write the answer to standard output, both JSON."""
    request = json.load(sys.stdin)
    _limit_memory()
    json.dump(answer(request), sys.stdout)


if __name__ == "__main__":
    main()
