"""The lenses, one file each. A new one is a file here: it is found by being here."""

import pkgutil
from functools import cache
from importlib import import_module

from tui.lenses.base import Lens


@cache
def found() -> tuple[type[Lens], ...]:
    """Every lens of this folder in the order of their round."""
    modules = [import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__)]
    classes = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Lens) and value.__module__ == module.__name__ and value.NAME
    ]
    return tuple(sorted(classes, key=lambda lens: lens.ORDER))
