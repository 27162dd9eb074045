"""Lenses on one step, one file each: `NAME(step, **options)` yields `Reading` while it works and ever better answers.

A new lens is a new file here whose function has the file's name. Needs no torch until a lens is asked for.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

NAMES = tuple(module.name for module in pkgutil.iter_modules(__path__))
"""The lenses there are."""


def lens(name: str) -> Callable[..., Iterator[Any]]:
    """The generator function of a lens."""
    return getattr(importlib.import_module(f"{__name__}.{name}"), name)
