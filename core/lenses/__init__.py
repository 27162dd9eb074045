"""Lenses: each looks at one generation step from one side. One file each, whose function has the file's name.

The way in is `lens(name)`: it gives the function `NAME(step, **options)`, a generator that yields `Progress` and ever
more complete answers; the last answer is complete. Answers are frozen values without tensors. Torch is imported when a
lens is asked for, not before.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

NAMES = tuple(module.name for module in pkgutil.iter_modules(__path__))
"""The lenses, by their files."""


def lens(name: str) -> Callable[..., Iterator[Any]]:
    """The generator function of a lens."""
    return getattr(importlib.import_module(f"{__name__}.{name}"), name)
