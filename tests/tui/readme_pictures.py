"""Makes the pictures of the README: `python tests/tui/readme_pictures.py [NAME …]` writes `.readme/NAME.svg`.

The app runs without a terminal, over SmolLM2 and trained rungs. Look at each picture before it is committed.
"""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apps import AppUnderTest, WatchedRunner, delivered, settle, until
from textual.pilot import Pilot

from core.loading.checkpoints.recipe import Recipe
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from tui.settings import Settings

FOLDER = Path(__file__).parents[2] / ".readme"
PROMPT = "I prefer oat milk in"
TRAINED_STEPS = 400

Keys = Callable[[Pilot[None]], Awaitable[None]]


async def press(pilot: Pilot[None], *keys: str) -> None:
    """Press keys, each when the one before is done."""
    for key in keys:
        pilot.app.simulate_key(key)
        await settle(pilot)


def pressing(*keys: str) -> Keys:
    return lambda pilot: press(pilot, *keys)


def looking(lens: str, *keys: str) -> Keys:
    """Generate tokens, then turn to a lens and press keys."""

    async def go(pilot: Pilot[None]) -> None:
        await press(pilot, "g")
        app: Any = pilot.app
        app.turn_to(lens)
        await settle(pilot)
        await press(pilot, *keys)

    return go


async def branching(pilot: Pilot[None]) -> None:
    """A walk that was continued in several ways."""
    await press(pilot, "g", *["left"] * 7, "2", "g", *["left"] * 9, "3", "g", *["left"] * 4, "2", "g", "b")


async def training(pilot: Pilot[None]) -> None:
    """Train for some minutes, and look at a checkpoint between."""
    app: Any = pilot.app
    with tempfile.TemporaryDirectory() as folder:
        app.runner.train(Recipe(), Path(folder) / "model5-world")
        while not ((status := app.frame.training) and status.last and status.last.step >= TRAINED_STEPS):
            await asyncio.sleep(0.2)
        app.simulate_key("t")
        await delivered(pilot)
        app.runner.pause_training()
        await until(lambda: app.frame.training.state == "paused")
        for _ in range(5):
            app.simulate_key("left")
        await delivered(pilot)
        app.save_screenshot(str(FOLDER / "train.svg"))
        app.runner.stop_training()
        await settle(pilot)


@dataclass(frozen=True)
class Picture:
    """What is done before the picture is taken, and with what."""

    go: Keys
    model: str = "smollm2"
    count: int = 8
    size: tuple[int, int] = (116, 33)
    sampler: Sampler = Sampler.of(temperature=0.8, top_k=40, top_p=0.9)  # noqa: RUF009  # a frozen value


PICTURES = {
    "walk": Picture(pressing("g")),
    "tree": Picture(branching, count=12),
    "sampler": Picture(looking("sampler"), count=15),
    "flow": Picture(looking("flow")),
    "attention": Picture(looking("attention", "shift+down", "shift+right")),
    "logit": Picture(looking("logit")),
    "truth": Picture(pressing("g"), "model5-trained", sampler=Sampler()),
    "train": Picture(training, "model5-trained", size=(116, 36)),
}


async def take(name: str) -> None:
    picture = PICTURES[name]
    choice = ModelChoice(name=picture.model, device="cpu")
    app = AppUnderTest(
        choice, picture.sampler, PROMPT, settings=Settings(fps=30), count=picture.count, runner=WatchedRunner
    )
    async with app.run_test(size=picture.size) as pilot:
        await settle(pilot)
        await picture.go(pilot)
        if picture.go is not training:
            app.save_screenshot(str(FOLDER / f"{name}.svg"))


if __name__ == "__main__":
    for each in sys.argv[1:] or PICTURES:
        asyncio.run(take(each))
        sys.stdout.write(f".readme/{each}.svg\n")
