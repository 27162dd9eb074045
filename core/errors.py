"""The error for a request that cannot be met, and how allocators report that memory is exhausted."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter

from core.language import _


@dataclass(frozen=True, slots=True)
class Option:
    """A setting a person can give, by its name without dashes, such as `dtype`. A screen shows it as `--dtype`.

    Where a key of the app does the same, `action` is the id of its binding; the app shows the key.
    """

    name: str
    action: str = ""

    def __str__(self) -> str:
        return f"option {self.name}"


@dataclass(frozen=True, slots=True)
class Action:
    """Something a person can do in the app, by the id of its key binding, such as `walk.step`.

    A screen shows the key that is bound to it at present.
    """

    id: str

    def __str__(self) -> str:
        return f"action {self.id}"


Part = str | Option | Action


class UserError(ValueError):
    """A request that cannot be met. Its text is one line: what is wrong, what is allowed, and the next step.

    `UserError(_("{path} is empty; set {option}"), path=path, option=Option("text"))` puts values into the translated
    text as `str.format` does. `core` names no key and no flag: it gives an `Option` or an `Action`, and the caller
    spells it (`tui.wording.spell`). `parts` are the pieces of the line; a value that is a tuple of parts, such as those
    of another error, is spread among them. `str()` gives a line that is readable by itself.
    """

    def __init__(self, text: Part, /, *more: Part, **values: object) -> None:
        parts = (*(filled(str(text), values) if values else (text,)), *more)
        super().__init__("".join(map(str, parts)))
        self.parts = parts

    @property
    def asks(self) -> str:
        """The id of the first action that the line names; empty where it names none."""
        named = (
            part.action if isinstance(part, Option) else part.id for part in self.parts if not isinstance(part, str)
        )
        return next(filter(None, named), "")


def filled(text: str, values: Mapping[str, object]) -> tuple[Part, ...]:
    """The parts of a text whose `{fields}` are filled as `str.format` does.

    An `Option` or `Action` stays a part, and a tuple of parts is spread.
    """
    parts = list[Part]()
    for literal, name, form, conversion in Formatter().parse(text):
        parts += [literal] if literal else []
        if name is None:
            continue
        value = values[name]
        if isinstance(value, Option | Action):
            parts.append(value)
        elif isinstance(value, tuple) and all(isinstance(each, str | Option | Action) for each in value):
            parts.extend(value)
        else:
            parts.append(f"{{{f'!{conversion}' if conversion else ''}:{form}}}".format(value))
    return tuple(parts)


_ALLOCATORS = re.compile(
    r"out of memory|can(?:'|no)t allocate memory|not enough memory|tried to allocate"
    r"|can't start new thread|failed to map segment",
    re.IGNORECASE,
)
_SIZE = re.compile(r"allocate (?:memory: )?(?:you tried to allocate )?(\d[\d.]*) ?(bytes|[KMGT]i?B)", re.IGNORECASE)


def out_of_memory(error: BaseException) -> str | None:
    """One line for an allocator's error, with the size where it names one; None for any other error."""
    if not (isinstance(error, MemoryError) or _ALLOCATORS.search(str(error))):
        return None
    size = _SIZE.search(str(error).replace("DefaultCPUAllocator: ", ""))
    if not size:
        return _("there is not enough memory")
    number, unit = size.groups()
    return _("there is no memory for {value} more").format(
        value=f"{float(number) / 1e9:,.2f} GB" if unit == "bytes" else f"{number} {unit}"
    )
