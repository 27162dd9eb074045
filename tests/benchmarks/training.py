"""Prints, in one run and as ratios, what training costs: `python tests/benchmarks/training.py [--quick] [a b]`.

(a) model5 on the tiny world: tokens a second of the trainer against a plain loop as the article's series writes it,
    with all of cl100k, on the same threads, the sides taking turns; the best of the rounds counts. Both see T tokens a
    row and take as many rows a step.
(b) Keys on the train screen while model5 learns: from the key to the painted answer, in the running app.
"""

import asyncio
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from core.engine import threads

threads.prepare()

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from textual import events  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from core.engine.device import devices  # noqa: E402
from core.engine.model import random_model  # noqa: E402
from core.loading import tokenizers  # noqa: E402
from core.loading.checkpoints.recipe import Recipe  # noqa: E402
from core.loading.ladder import rung  # noqa: E402
from core.training.corpus import World  # noqa: E402
from core.training.dataset import SequenceDataset  # noqa: E402
from core.training.events import Stepped  # noqa: E402
from core.training.trainer import Trainer  # noqa: E402
from core.world import tiny  # noqa: E402

QUICK = "--quick" in sys.argv
ROUNDS = 2 if QUICK else 4
STEPS = {"plain": 1 if QUICK else 3, "ours": 5 if QUICK else 20}
RECIPE = Recipe(steps=10**6, every=10**6)


def plain_loop() -> Iterator[None]:
    """The loop of a course: a dataset of one long text in cl100k, a data loader, AdamW, one step after the other."""
    tokenizer, small = tokenizers.load_tokenizer("cl100k"), tokenizers.load_tokenizer(tiny.NAME)
    texts = tiny.texts(0)
    ids = [id for _ in range(3000) for id in tokenizer.encode(small.text(next(texts)))]
    config = rung(RECIPE.rung, tokenizer.vocab_size, RECIPE.changes).config
    model = random_model(config, 0).requires_grad_(True).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RECIPE.peak)
    loader = DataLoader(SequenceDataset(ids, config.context), batch_size=RECIPE.batch, shuffle=True, drop_last=True)
    while True:
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
            loss.backward()
            optimizer.step()
            yield


def our_loop() -> Iterator[None]:
    trainer = Trainer(RECIPE, World(0), torch.device("cpu"))
    return (None for event in trainer.run() if isinstance(event, Stepped))


def speed() -> None:
    count = threads.apply(30_000_000, beside_screen=False)
    sides = {"plain": plain_loop(), "ours": our_loop()}
    rates = dict.fromkeys(sides, 0.0)
    for _ in range(ROUNDS + 1):  # the first one warms up
        for name, side in sides.items():
            began = time.perf_counter()
            for _ in range(STEPS[name]):
                next(side)
            tokens = STEPS[name] * RECIPE.batch * 64
            rates[name] = max(rates[name], tokens / (time.perf_counter() - began))
    print(f"(a) model5 on the tiny world, tokens a second on {count} threads: a plain loop with all of cl100k / ours")
    print(f"    {rates['plain']:,.0f} / {rates['ours']:,.0f} = {rates['ours'] / rates['plain']:.1f}×")


def key_latency() -> None:
    print("(b) key to paint on the train screen while model5 learns, ms")
    seconds = asyncio.run(_latencies(30 if QUICK else 150))
    ms = sorted(1e3 * each for each in seconds)
    print(f"    median {statistics.median(ms):.0f}, p95 {ms[int(0.95 * len(ms))]:.0f}, most {ms[-1]:.0f}")


async def _latencies(count: int) -> list[float]:
    """Seconds from a key's arrival to the end of the refresh that shows another checkpoint."""
    from tui.app import TokenwalkApp
    from tui.screens.train import TrainScreen

    app = TokenwalkApp(text="I prefer")
    waits: list[float] = []
    pressed = 0.0
    with tempfile.TemporaryDirectory() as folder:
        async with app.run_test(size=(120, 36)):
            app.runner.train(replace(RECIPE, every=10), Path(folder) / "model5")
            while not (app.state.frame.training and len(app.state.frame.training.evaluations) > 5):
                await asyncio.sleep(0.1)
            app.post_message(events.Key("t", None))
            while not isinstance(app.screen, TrainScreen):
                await asyncio.sleep(0.1)
            look = app.screen.action_look

            def timed(by: int) -> None:
                look(by)
                app.screen.call_after_refresh(lambda: waits.append(time.perf_counter() - pressed))

            app.screen.action_look = timed  # type: ignore[method-assign]
            for turn in range(count):
                await asyncio.sleep(0.05 + 0.003 * (turn % 20))
                pressed = time.perf_counter()
                app.post_message(events.Key("left" if turn % 8 < 4 else "right", None))
                while len(waits) <= turn:
                    await asyncio.sleep(0.001)
            app.runner.stop_training()
    return waits


if __name__ == "__main__":
    cpu = next(info for info in devices() if info.name == "cpu")
    print(f"{platform.python_version()}, torch {torch.__version__}, {cpu.label}")
    wanted = [arg for arg in sys.argv[1:] if not arg.startswith("-")] or ["a", "b"]
    for name, part in {"a": speed, "b": key_latency}.items():
        if name in wanted:
            part()
