"""What expressions of lessons measure. A measurement is one function with `@measurement` in one of these modules.

Its first argument says where it measures (`here.Here`); the others are those that a lesson writes. It runs on the
runner's thread, and imports torch and `core` inside the function, so that the linter knows its name without them.
"""

from inspect import Signature

from tui.course.measurements import (
    app,
    changes,
    distribution,
    inside,
    lab,
    layers,
    model,
    sampler,
    walk,
    weights,
    world,
)
from tui.course.measurements.here import MEASUREMENTS, Bench, Here, Seen, signature, value_of

__all__ = ["MEASUREMENTS", "Bench", "Here", "Seen", "signatures", "value_of"]

MODULES = (app, changes, distribution, inside, lab, layers, model, sampler, walk, weights, world)
"""The modules whose functions are measurements."""


def signatures() -> dict[str, Signature]:
    """Each measurement with the arguments that a lesson gives it."""
    return {name: signature(function) for name, function in MEASUREMENTS.items()}
