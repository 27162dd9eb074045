"""The error for a request that cannot be met, and how allocators report that memory is exhausted."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from string import Formatter


@dataclass(frozen=True, slots=True)
class Option:
    """A setting a person can give, by its name without dashes, such as `dtype`. A screen shows it as `--dtype`."""

    name: str

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

    `parts` are the pieces of that line. `core` names no key and no flag: it puts an `Option` or an `Action` among them,
    and the caller spells it (`tui.wording.spell`). `str()` gives a line that is readable by itself.

    With named values the text is one template, which another language may order in its own way:
    `UserError(_("{dtype} must be fp32, not {value!r}"), dtype=Option("dtype"), value=value)`.
    """

    def __init__(self, *parts: Part, **values: object) -> None:
        if values:
            parts = tuple(_filled("".join(map(str, parts)), values))
        super().__init__("".join(map(str, parts)))
        self.parts = parts


def _filled(template: str, values: Mapping[str, object]) -> Iterator[Part]:
    """The parts of a template whose `{fields}` are filled as `str.format` does; options and actions stay parts."""
    for text, name, form, conversion in Formatter().parse(template):
        if text:
            yield text
        if name is not None:
            value = values[name]
            field = f"{{{f'!{conversion}' if conversion else ''}:{form}}}"
            yield value if isinstance(value, Option | Action) else field.format(value)


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
        return "there is not enough memory"
    number, unit = size.groups()
    return f"there is no memory for {f'{float(number) / 1e9:,.2f} GB' if unit == 'bytes' else f'{number} {unit}'} more"
