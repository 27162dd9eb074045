"""The LoRA adapter in the app: on and off by key, its scale, the base as a ghost, saved with the walk."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from saved_walks import saved_as_it_is

from core.loading.choice import ModelChoice
from tui.app import TokenwalkApp

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
SIZE = (120, 36)


@pytest.fixture
def adapted(chat_model: Path, adapter: Path) -> ModelChoice:
    return ModelChoice(name=str(chat_model), lora=str(adapter), device="cpu", dtype="fp32")


async def test_a_key_turns_the_adapter_off_and_on(real: Make, settle: Go, press: Go, adapted: ModelChoice) -> None:
    """Off, the chart is that of the base and has no ghost; on again, it is as before."""
    async with real("oat milk", adapted).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        on = app.frame.snapshot.chart
        assert all(candidate.unpatched is not None for candidate in on.candidates)
        assert "░ base" in str(app.candidates.border_title)
        assert "LoRA oat" in app.status.render().plain
        await press(pilot, "A")
        off = app.frame.snapshot.chart
        assert off.candidates[0].unpatched is None
        plain = {each.id: each.probability for each in off.candidates}
        shared = [each for each in on.candidates if each.id in plain]
        assert len(shared) > 5
        assert [plain[each.id] for each in shared] == pytest.approx([each.unpatched for each in shared], rel=1e-5)
        assert "LoRA oat off" in app.status.render().plain
        await press(pilot, "A")
        assert [each.id for each in app.frame.snapshot.chart.candidates] == [each.id for each in on.candidates]
        assert "oat off" not in app.status.render().plain


async def test_keys_change_the_scale_by_a_tenth(real: Make, settle: Go, press: Go, adapted: ModelChoice) -> None:
    """Off and on keeps the scale; the next draw remembers it."""
    async with real("oat", replace(adapted, lora_scale=0.5)).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "equals_sign", "plus", "minus")
        assert app.choice.lora_scale == 0.6
        assert "LoRA oat × 0.6" in app.status.render().plain
        await press(pilot, "A", "A", "space")
        assert app.choice.lora_scale == 0.6
        assert app.frame.snapshot.tokens[-1].model.choice.lora_scale == 0.6
        assert all(token.score for token in app.frame.snapshot.tokens[1:])


async def test_keys_typed_ahead_add_up(scripted: Make, scenes: Any, settle: Go, adapted: ModelChoice) -> None:
    """Whatever frame arrives between them."""
    async with scripted(replace(scenes.oat_milk(), choice=adapted), text="a").run_test(size=SIZE) as pilot:
        await pilot.pause()
        runner = pilot.app.runner
        await pilot.press("-", "-")
        runner.show(replace(scenes.oat_milk(), choice=adapted))
        await pilot.press("-", "A", "A")
        assert runner.scales == [0.9, 0.8, 0.7, 0.0, 0.7]


async def test_a_change_of_the_scale_of_an_adapter_that_is_off_begins_at_its_scale_before(
    scripted: Make, scenes: Any, adapted: ModelChoice
) -> None:
    """By steps down to 0 it is not off: then one step up is 0.1."""
    async with scripted(replace(scenes.oat_milk(), choice=adapted), text="a").run_test(size=SIZE) as pilot:
        await pilot.pause()
        runner = pilot.app.runner
        await pilot.press("A", "=", "-")
        assert runner.scales == [0.0, 1.1, 1.0]
        await pilot.press(*"----------", "=")
        assert runner.scales[-2:] == [0.0, 0.1]


async def test_without_an_adapter_the_keys_say_how_to_have_one(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=SIZE) as pilot:
        await pilot.pause()
        await pilot.press("A")
        (notice,) = pilot.app._notifications
        assert "has no LoRA adapter; m takes the path of one" in notice.message
        assert pilot.app.runner.scales == []


async def test_a_saved_walk_opens_with_its_adapter_and_scale(
    saving: Make, settle: Go, press: Go, adapted: ModelChoice, tmp_path: Path, until: Any
) -> None:
    async with saving("oat", choice=adapted).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "minus", "space")
        await saved_as_it_is(pilot.app, tmp_path, until)
        path, ids = pilot.app.autosave.path, [token.id for token in pilot.app.frame.snapshot.tokens]
    async with saving("", resume=path).run_test(size=SIZE) as pilot:
        await settle(pilot)
        assert pilot.app.choice == replace(adapted, lora_scale=0.9)
        assert [token.id for token in pilot.app.frame.snapshot.tokens] == ids
