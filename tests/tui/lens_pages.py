"""How tests turn to a lens of the app, and the answer that they compare it with."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from textual.widget import Widget

from core.lenses import lens
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.models import load_model
from core.walk.session import Session
from core.walk.values import PromptForm
from tui.app import TokenwalkApp
from tui.lenses.base import LensPage

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Lines = Callable[[Widget], list[str]]

PROMPT = "oat milk"
BYTES = ModelChoice(tokenizer="bytes", device="cpu")
DEEP = replace(BYTES, name="model5", changes=Hyperparameters(context=32, blocks=3, heads=4))
SIZES = [(80, 24), (120, 36)]


def page(app: TokenwalkApp) -> LensPage[Any]:
    assert isinstance(app.lens, LensPage)
    return app.lens


def inert(lines: list[str]) -> bool:
    return all(character.isprintable() for line in lines for character in line)


CORRUPT = "oat silk"
"""Differs from the prompt by one token, for the lenses that compare two prompts."""


async def turn_to(pilot: Any, settle: Go, name: str) -> LensPage[Any]:
    pilot.app.do("lens.look", name)
    for _ in range(1000):
        await settle(pilot)
        if page(pilot.app)._drawn:  # laid out
            break
    return page(pilot.app)


def compare(session: Session) -> None:
    session.compare_with(CORRUPT, PromptForm(), "left")


def session(choice: ModelChoice, text: str = PROMPT) -> Session:
    found = Session(load_model(choice))
    list(found.prefill(list(text.encode())))
    return found


def answered(choice: ModelChoice, name: str, text: str = PROMPT, **options: Any) -> Any:
    return list(lens(name)(session(choice, text).current_step(), **options))[-1]
