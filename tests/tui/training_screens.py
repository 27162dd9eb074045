"""Invented trainings, and how tests open, fill and show the screens of training."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.loading.checkpoints import folders
from core.loading.checkpoints.recipe import Recipe
from core.loading.choice import Hyperparameters
from core.sampling.values import Chart
from core.training.events import Begun, CheckpointSaved, Evaluated, Stepped
from core.training.status import TrainingStatus
from core.world.automaton import Floors
from tui.app import TokenwalkApp
from tui.screens.recipe import RecipeScreen
from tui.screens.recipe_fields import ValueSelector
from tui.screens.train import TrainScreen

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Screen = Callable[[TokenwalkApp], list[str]]
Compare = Callable[..., bool]
SIZE = (120, 36)
SAMPLES = (" in in in in in", "\nThe the the cup", " my coffee.\nThe train to Rome was full")
SMALL = Recipe(rung="model1", changes=Hyperparameters(context=16), steps=6, every=2, batch=4)


def chart_at(scenes: Any, step: int, world: bool) -> Chart:
    """The chart of the probe after some steps: flat at first, `my` in the end."""
    share = min(0.95, step / 700)
    pieces = [" my", " our", "\x1b[2J", " [/b]", b"\xf0\x9f", " their", " the", " his", " her", " in", "字", " on"]
    found = scenes.chart(pieces, [share or 0.001, *((1 - share) / 4 / 2**n for n in range(11))])
    if not world:
        return found
    true = {0: 0.75, 1: 0.25}
    candidates = tuple(replace(c, true=true.get(c.rank, 0.0)) for c in found.candidates)
    return replace(found, candidates=candidates, divergence_bits=9.9 * math.exp(-step / 200))


def training_after(
    scenes: Any, steps: int = 375, recipe: Recipe = Recipe(), folder: Path = Path("/nowhere"), **more: Any
) -> TrainingStatus:
    """A training after `steps` steps; each evaluation left a checkpoint in `folder`."""
    world = not recipe.text
    floors = Floors(4.93, 1.96, 0.80) if world else None
    progress = TrainingStatus(recipe, "model5-world" if world else "model5-text")
    progress = progress.after(Begun("model5", "the tiny world", 256_960, 825, 64, recipe.steps, 6.72, floors, 0))
    for step in range(steps + 1):
        loss = 0.9 + 5.8 * math.exp(-step / 60)
        if step:
            noise = 0.05 * math.sin(1.7 * step)
            left = (recipe.steps - step) / 8
            progress = progress.after(Stepped(step, loss + noise, recipe.lr_at(step - 1), 0.5, 12_345.0, left))
        if step % recipe.every == 0:
            sample = SAMPLES[min(2, step // 100)]
            progress = progress.after(Evaluated(step, loss, chart_at(scenes, step, world), sample))
            progress = progress.after(CheckpointSaved(step, folder / folders.STEP.format(step)))
    return replace(progress, **more)


def train_screen(app: TokenwalkApp) -> TrainScreen:
    assert isinstance(app.screen, TrainScreen)
    return app.screen


def form(app: TokenwalkApp) -> RecipeScreen:
    assert isinstance(app.screen, RecipeScreen)
    return app.screen


async def opened(pilot: Any, until: Go) -> None:
    """Press `t` and wait for the screen it opens."""
    await until(lambda: pilot.app.frame.snapshot is not None)
    await pilot.press("t")
    await until(lambda: isinstance(pilot.app.screen, TrainScreen | RecipeScreen) and pilot.app.screen.is_mounted)
    await pilot.pause()


async def shown(pilot: Any, until: Go, progress: TrainingStatus) -> None:
    """Show a training and wait until it is drawn, also where drawings are delayed."""
    app = pilot.app
    app.runner.show(replace(app.runner.frame, training=progress))
    screen = next(screen for screen in app.screen_stack if isinstance(screen, TrainScreen))
    await until(lambda: screen.progress is progress and not screen._due)
    await pilot.pause()


def fill(screen: RecipeScreen, **values: str) -> None:
    for name, value in values.items():
        field = screen.fields[name]
        field.value = value
        if isinstance(field, ValueSelector):
            field.post_message(field.Changed())


def opened_with_keys(until: Go, *keys: str) -> Callable[[Any], Awaitable[None]]:
    async def go(pilot: Any) -> None:
        await opened(pilot, until)
        await pilot.press(*keys)
        if isinstance(pilot.app.screen, RecipeScreen):
            screen = pilot.app.screen
            await until(lambda: len(screen._vocab_sizes) == 3)
        for _ in range(3):
            await pilot.pause()

    return go
