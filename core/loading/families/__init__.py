"""The model families, a module each. A module of this folder that has a `FAMILY` is found by being here.

`FAMILIES` maps `model_type` of config.json to its `Family`, `GGUF_FAMILIES` maps `general.architecture` of a GGUF file.
To add one, see the README of `core/loading`.
"""

import pkgutil
from collections.abc import Mapping
from importlib import import_module

from core.loading.families.family import Family


def _found() -> list[Family]:
    modules = (import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return [module.FAMILY for module in modules if hasattr(module, "FAMILY")]


FAMILIES: Mapping[str, Family] = {family.model_type: family for family in _found()}
GGUF_FAMILIES: Mapping[str, Family] = {
    family.architecture or family.model_type: family for family in FAMILIES.values() if family.gguf_config
}
TITLES = tuple(dict.fromkeys(family.title for family in FAMILIES.values()))
