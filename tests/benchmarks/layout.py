"""Prints, in one run and as ratios, what a lens beside the chart costs: `python tests/benchmarks/layout.py [MODEL]`.

The app runs headless. At 149 columns a lens stands in the place of the chart, at 150 beside it, so that the two sides
differ by the chart alone. Both sides take turns.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Callable

from core.engine import threads

threads.prepare()

from textual.pilot import Pilot  # noqa: E402

from core.loading.choice import ModelChoice  # noqa: E402
from tui.app import TokenwalkApp  # noqa: E402

MODEL = sys.argv[1] if len(sys.argv) > 1 else "model5-trained"
LENSES = ("candidates", "flow", "sampler", "attention")
SIDES = ((149, 42), (150, 42))
ROUNDS = 5
STEPS = 10
RUN = 60


async def until(pilot: Pilot[None], true: Callable[[], object]) -> None:
    """Wait until something is true, as the screen's thread sees it."""
    while not true():
        await asyncio.sleep(0.0005)


async def steps(app: TokenwalkApp, pilot: Pilot[None]) -> float:
    """Seconds from one `space` to the frame with its token and chart, the median of several."""
    seconds = []
    for _ in range(STEPS):
        cursor = app.state.frame.snapshot.cursor  # type: ignore[union-attr]  # there is a walk
        began = time.perf_counter()
        app.walk.run_command("do('walking.step')")

        def stepped(before: int = cursor) -> bool:
            shown = app.state.frame.snapshot
            return shown is not None and shown.cursor > before and shown.chart is not None

        await until(pilot, stepped)
        seconds.append(time.perf_counter() - began)
        await until(pilot, lambda: app.state.frame.activity == "idle")
    return statistics.median(seconds)


async def rate(app: TokenwalkApp, pilot: Pilot[None]) -> float:
    """Tokens a second of one run, as the status line says it."""
    app.state.count = RUN
    app.walk.run_command("do('walking.generate')")
    await until(pilot, lambda: app.state.frame.activity == "idle")  # it may end earlier, at an end of the text
    return app.state.frame.rate or 0.0


async def main() -> None:
    app = TokenwalkApp(ModelChoice(name=MODEL), text="I prefer oat milk in")
    print(f"{MODEL} · {SIDES[0][0]} columns: lens in place of the chart; {SIDES[1][0]}: beside it")
    async with app.run_test(size=SIDES[0]) as pilot:
        await until(pilot, lambda: app.state.frame.snapshot and app.state.frame.snapshot.chart)
        for lens in LENSES:
            app.turn_to(lens)
            found: dict[tuple[int, int], list[tuple[float, float]]] = {side: [] for side in SIDES}
            for _ in range(ROUNDS):
                for side in SIDES:
                    await pilot.resize_terminal(*side)
                    await asyncio.sleep(0.3)
                    found[side].append((await steps(app, pilot), await rate(app, pilot)))
                    app.runner.submit(lambda session: session.travel(5))
                    await asyncio.sleep(0.3)
            (step, tokens), (step_beside, tokens_beside) = (
                tuple(statistics.median(values) for values in zip(*found[side], strict=True)) for side in SIDES
            )
            print(
                f"{lens:11} step {1000 * step:5.1f} → {1000 * step_beside:5.1f} ms (× {step_beside / step:.2f})   "
                f"run {tokens:6.0f} → {tokens_beside:6.0f} tok/s (× {tokens_beside / tokens:.2f})"
            )


if __name__ == "__main__":
    asyncio.run(main())
