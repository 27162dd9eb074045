"""The lenses, one file each. `found()` lists them; a new file in this folder is found without being registered."""

import pkgutil
from functools import cache
from importlib import import_module

from core.language import N_
from tui.lenses.base import Lens

GROUPS = (N_("Next token"), N_("Inside"), N_("Why"), N_("Learning"), N_("Compare"))
"""The sections of the index of lenses, in order."""


@cache
def found() -> tuple[type[Lens], ...]:
    """Every lens in the order of the round, which is that of the index; the chart of the next token is the first.

    A module of this folder holds lenses; a package, such as `base`, holds what they share.
    """
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg]
    modules = [import_module(f"{__name__}.{name}") for name in names]
    classes = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Lens) and value.__module__ == module.__name__ and value.NAME
    ]
    return tuple(sorted(classes, key=lambda lens: (GROUPS.index(lens.GROUP), lens.ORDER)))


def named(name: str) -> type[Lens]:
    """The lens with a name."""
    return next(lens for lens in found() if name == lens.NAME)
