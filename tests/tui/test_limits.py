"""Where numbers or memory give out: a line says so, and the walk goes on."""

from collections.abc import Awaitable, Callable

import pytest
import torch

from core.loading import models
from core.walk.session import Session
from tui.app import TokenwalkApp

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]


def told(app: TokenwalkApp) -> str:
    return " ".join(notification.message for notification in app._notifications)


def overflow(session: Session) -> None:
    """Let the model's logits be infinite from now on."""
    session.model.transformer.unembed.weight.fill_(3e38)


async def test_logits_that_are_no_numbers(real: Make, settle: Go, press: Go) -> None:
    """Generation stops with one line; what was there is still there, and another model goes on."""
    async with real("oat milk").run_test(size=(100, 30)) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "space")
        before = app.frame.snapshot
        app.runner.submit(overflow)
        await settle(pilot)
        await press(pilot, "g")
        assert "not finite" in told(app)
        assert app.frame.activity == "idle"
        assert app.frame.snapshot is not None
        assert before is not None
        assert [token.id for token in app.frame.snapshot.tokens][: len(before.tokens)] == [t.id for t in before.tokens]
        app.do("choosing.load", app.choice)
        await settle(pilot)
        await press(pilot, "space")
        assert app.frame.snapshot.chart is not None
        assert len(app.frame.snapshot.tokens) > len(before.tokens)


@pytest.mark.parametrize("place", ["loading", "stepping"])
async def test_memory_that_gives_out(
    real: Make, settle: Go, press: Go, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The model before stays, and one line has the sizes."""

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB.")

    async with real("oat milk").run_test(size=(100, 30)) as pilot:
        app = pilot.app
        await settle(pilot)
        choice, tokens = app.choice, app.frame.snapshot.tokens if app.frame.snapshot else ()
        with monkeypatch.context() as patch:
            if place == "loading":
                patch.setattr(models, "random_model", full)
                app.do("choosing.take_model", "model2")
                await settle(pilot)
            else:
                patch.setattr(Session, "step", full)
                await press(pilot, "g")
        assert "2.50 GiB" in told(app)
        assert (app.choice, app.frame.activity) == (choice, "idle")
        assert app.frame.model is not None
        assert app.frame.model.name == choice.name
        await press(pilot, "space")
        assert app.frame.snapshot is not None
        assert len(app.frame.snapshot.tokens) == len(tokens) + 1
