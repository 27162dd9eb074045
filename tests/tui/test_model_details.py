"""All about the loaded model: the dialog, in lines of text, and by `tokenwalk models NAME`."""

import json
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from core.loading.choice import ModelChoice
from tui.app import TokenwalkApp
from tui.screens.model_details import DetailsTable, ModelDetailsScreen

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Here = Callable[..., subprocess.CompletedProcess[bytes]]


def told(app: TokenwalkApp) -> str:
    return " ".join(str(app.screen.query_one(DetailsTable).render()).split())


@pytest.mark.parametrize("size", [(80, 24), (160, 45), (40, 12)])
async def test_a_key_shows_all_about_the_model(real: Make, settle: Go, press: Go, size: tuple[int, int]) -> None:
    """It can be scrolled to its end, and closes by the same key."""
    async with real("oat").run_test(size=size) as pilot:
        await settle(pilot)
        await press(pilot, "K")
        assert isinstance(pilot.app.screen, ModelDetailsScreen)
        text = told(pilot.app)
        assert "random weights, seed 0" in text
        assert "fp32" in text
        dialog = pilot.app.screen.query_one("#model-details")
        for _ in range(20):
            await pilot.press("space")
        assert dialog.scroll_offset.y == dialog.max_scroll_y
        await press(pilot, "K")
        assert pilot.app.screen is pilot.app.walk


async def test_another_model_that_is_loaded_meanwhile_is_told_of(
    real: Make, settle: Go, press: Go, chat_model: Path
) -> None:
    async with real("oat").run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "K")
        assert "chat template no" in told(pilot.app)
        choice = ModelChoice(name=str(chat_model), device="cpu", dtype="fp32")
        pilot.app.runner.load(choice, "oat", pilot.app.state.sampler)
        await settle(pilot)
        assert "chat template yes" in told(pilot.app)


def test_the_command_tells_the_same(run_here: Here, chat_model: Path) -> None:
    """As lines and as JSON."""
    done = run_here("models", str(chat_model), "--dtype", "fp32")
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0
    assert any(line.split() == ["chat", "template", "yes"] for line in lines)
    found = json.loads(run_here("models", str(chat_model), "--dtype", "fp32", "--json").stdout)
    assert found["model"] == str(chat_model)
    assert found["formats"][0]["parameters"] == found["parameters"]
    assert found["tokenizer"]["template"] is True


def test_options_need_a_model(run_here: Here) -> None:
    done = run_here("models", "--dtype", "fp32")
    assert done.returncode == 2
    assert b"name it" in done.stderr
