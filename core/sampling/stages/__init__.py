"""The stages of a sampler, a file each. A module here that holds a `Stage` with a name is found by being here.

`found` gives every stage by its name. A stage needs no NumPy until it is applied.
"""

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.sampling.stages.stage import Stage


@cache
def found() -> "Mapping[str, type[Stage]]":
    """Every stage by its name, in the usual order."""
    from core.sampling.stages.stage import Stage  # noqa: PLC0415  # the base imports this package

    modules = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    kinds = [each for module in modules for each in vars(module).values() if isinstance(each, type)]
    stages = {each.NAME: each for each in kinds if issubclass(each, Stage) and each.NAME}
    return dict(sorted(stages.items(), key=lambda entry: (entry[1].PLACE, entry[0])))
