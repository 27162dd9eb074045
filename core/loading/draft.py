"""Loads a draft model beside a target."""

from dataclasses import replace

from core.loading import catalog
from core.loading.model import Model
from core.loading.models import load_model


def load_draft(target: Model, name: str) -> Model:
    """The model `name` on the device of the target, in its fastest format; nothing is downloaded.

    Raises `UserError` for a model that is not on this machine, or cannot be loaded.
    """
    catalog.check_here(name)
    return load_model(replace(catalog.applicable(target.choice, name), dtype="auto"))
