"""The model families, a module each. A module of this folder that has a `FAMILY` is found by being here.

`FAMILIES` maps the name that files give an architecture (`llama`) to its `Family`. To add one, see the README of
`core/loading`.
"""

import pkgutil
from collections.abc import Mapping
from importlib import import_module

from core.loading.families.family import Family


def _found() -> Mapping[str, Family]:
    modules = (import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return {module.FAMILY.model_type: module.FAMILY for module in modules if hasattr(module, "FAMILY")}


FAMILIES: Mapping[str, Family] = _found()
TITLES = tuple(family.title for family in FAMILIES.values())
