"""Non-finite logits and a lack of memory: one line says so, and the walk continues."""

from collections.abc import Awaitable, Callable

import pytest
import torch

from core.engine.model import Transformer
from core.loading import models
from core.walk.session import Session
from tui.app import TokenwalkApp
from tui.dialogs.models import Picked

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]


def notices(app: TokenwalkApp) -> str:
    return " ".join(notification.message for notification in app._notifications)


def overflow(session: Session) -> None:
    """Let the model's logits be infinite from now on."""
    session.model.transformer.unembed.weight.fill_(3e38)


async def test_non_finite_logits_end_the_run_with_one_line(real: Make, settle: Go, press: Go) -> None:
    """Generation stops with one line; the walk stays as it is, and another model continues it."""
    async with real("oat milk").run_test(size=(100, 30)) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "space")
        before = app.frame.snapshot
        app.runner.submit(overflow)
        await settle(pilot)
        await press(pilot, "g")
        assert "non-finite" in notices(app)
        assert app.frame.activity == "idle"
        assert app.frame.snapshot is not None
        assert before is not None
        assert [token.id for token in app.frame.snapshot.tokens][: len(before.tokens)] == [t.id for t in before.tokens]
        app.do("choosing.load", app.choice)
        await settle(pilot)
        await press(pilot, "space")
        assert app.frame.snapshot.chart is not None
        assert len(app.frame.snapshot.tokens) > len(before.tokens)


@pytest.mark.parametrize("activity", ["loading", "stepping"])
async def test_a_lack_of_memory_leaves_the_model_before(
    real: Make, settle: Go, press: Go, monkeypatch: pytest.MonkeyPatch, activity: str
) -> None:
    """The model before stays, and one line has the sizes."""

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB.")

    async with real("oat milk").run_test(size=(100, 30)) as pilot:
        app = pilot.app
        await settle(pilot)
        choice, tokens = app.choice, app.frame.snapshot.tokens if app.frame.snapshot else ()
        with monkeypatch.context() as patch:
            if activity == "loading":
                patch.setattr(models, "random_model", full)
                app.do("choosing.take_model", Picked("model2"))
                await settle(pilot)
            else:
                patch.setattr(Session, "step", full)
                await press(pilot, "g")
        assert "2.50 GiB" in notices(app)
        assert (app.choice, app.frame.activity) == (choice, "idle")
        assert app.frame.model is not None
        assert app.frame.model.name == choice.name
        await press(pilot, "space")
        assert app.frame.snapshot is not None
        assert len(app.frame.snapshot.tokens) == len(tokens) + 1


@pytest.mark.parametrize("keys", [("i", "end", "x"), 8 * ("full_stop",)], ids=["prompt", "flow lens"])
async def test_a_lack_of_memory_for_a_prompt_or_a_lens_says_what_may_help(
    real: Make, settle: Go, press: Go, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, ...]
) -> None:
    """The text stays as it was typed, and goes on where there is memory again."""

    def full(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB.")

    async with real("oat milk").run_test(size=(100, 30)) as pilot:
        app = pilot.app
        await settle(pilot)
        with monkeypatch.context() as patch:
            patch.setattr(Transformer, "hidden", full)
            patch.setattr(Transformer, "forward", full)
            await press(pilot, *keys)
            await settle(pilot)
        assert "2.50 GiB" in notices(app)
        assert "a smaller model or shorter prompt may fit" in notices(app)
        assert app.frame.activity == "idle"
        await press(pilot, "escape", "space")
        assert app.frame.snapshot is not None
        assert app.frame.snapshot.prompt == ("oat milkx" if "x" in keys else "oat milk")
        assert len(app.frame.snapshot.tokens) == len(app.frame.snapshot.prompt) + 1
