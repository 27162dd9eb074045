"""Loads a draft model beside a target."""

from dataclasses import replace

from core.errors import Option, UserError
from core.language import _
from core.loading import catalog
from core.loading.models import Model, load_model


def load_draft(target: Model, name: str) -> Model:
    """The model `name` on the device of the target, in its fastest format; nothing is downloaded.

    Raises `UserError` for a model that is not on this machine, or cannot be loaded.
    """
    if not (catalog.is_rung(name) or catalog.trained(name) or catalog.find(name)):
        raise UserError(_("{name} is not on this machine; {model} {name} fetches it"), name=name, model=Option("model"))
    return load_model(replace(catalog.applicable(target.choice, name), dtype="auto"))
