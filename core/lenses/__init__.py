"""Lenses: each looks at one generation step from one side. One file each, whose function has the file's name.

The way in is `lens(name)`: it gives the function `NAME(step, **options)`, a generator that yields `Progress` and ever
more complete answers; the last answer is complete. Answers are frozen values without tensors. Torch is imported when a
lens is asked for, not before.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.language import _

if TYPE_CHECKING:
    from core.causal.table import Table

NAMES = tuple(module.name for module in pkgutil.iter_modules(__path__))
"""The lenses, by their files."""


def lens(name: str) -> Callable[..., Iterator[Any]]:
    """The generator function of a lens."""
    return getattr(importlib.import_module(f"{__name__}.{name}"), name)


def experiments() -> tuple[str, ...]:
    """The lenses that answer a question of a person: those with a parameter `question`."""
    return tuple(name for name in NAMES if "question" in inspect.signature(lens(name)).parameters)


def table(name: str) -> Callable[[Any], "Table"]:
    """The function that makes a table of an answer of a lens. Raises `UserError` for a lens that has none."""
    module = importlib.import_module(f"{__name__}.{name}")
    found: Callable[[Any], Table] | None = getattr(module, "table", None)
    if found is None:
        raise UserError(_("the lens {name} is not a table; choose another form"), name=name.replace("_", "-"))
    return found
