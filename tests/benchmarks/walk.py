"""Prints, in one run and as ratios, what the walk costs: `python tests/benchmarks/walk.py [--quick]`.

(a) Model 1 by the fast path against the article's own loop, at four context lengths, on the same threads.
(b) The tax of the screen: tokens a second in the running app (headless, 120×36, all panels) against the session alone.
(c) Start: first paint and first distribution, in fresh processes with a pseudo-terminal.
(d) Turning a knob: a new chart and its stages from one distribution of V = 100,277.
"""

import asyncio
import os
import platform
import pty
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from core import threads

threads.prepare()

import torch  # noqa: E402

from core.config import Hyperparameters, ModelChoice, Sampler  # noqa: E402
from core.model import generate  # noqa: E402
from core.models import Model, load  # noqa: E402
from core.sampling import Distribution, chart  # noqa: E402
from core.session import Session  # noqa: E402
from tui.app import TokenwalkApp  # noqa: E402

QUICK = "--quick" in sys.argv
ROUNDS = 3 if QUICK else 5
PROMPT = "I prefer oat milk in"
GPT2 = Hyperparameters(embed_dim=768, context=1024, blocks=12, heads=12)


def median_seconds(run: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Median wall time of `run`, after one run that is not counted."""
    run()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def ready_session(model: Model, ids: list[int]) -> Session:
    session = Session(model)
    for _ in session.prefill(ids):
        pass
    return session


def fast_path() -> None:
    print("(a) Model 1: ms a token, the article's loop / the fast path")
    costs = {}
    for context in (8, 64, 256, 1024):
        model = load(ModelChoice(changes=Hyperparameters(context=context)))
        count = threads.apply(model.info.parameters, beside_screen=False)
        ids = torch.randint(0, 100_000, (1, context), generator=torch.Generator().manual_seed(0))
        session = ready_session(model, ids[0].tolist())
        loop_tokens, fast_tokens = (4 if context > 256 else 10), 200
        loop, fast = [], []
        for _ in range(ROUNDS):
            loop.append(median_seconds(lambda: generate(model.transformer, ids, loop_tokens), 1) / loop_tokens)
            fast.append(median_seconds(lambda: list(session.generate(fast_tokens)), 1) / fast_tokens)
        costs[context] = statistics.median(fast)
        slow = statistics.median(loop)
        print(
            f"    context {context:>4}: {1e3 * slow:7.2f} / {1e3 * costs[context]:5.2f} = "
            f"{slow / costs[context]:6.1f}×   ({count} thread)"
        )
    print(f"    cost(1024) / cost(8) = {costs[1024] / costs[8]:.2f}")


async def app_rate(choice: ModelChoice, tokens: int, rounds: int) -> tuple[float, list[float]]:
    """Tokens a second of `g` in the app, and of the session by itself on the app's thread, in turn."""
    rates, alone = [], []
    app = TokenwalkApp(choice, Sampler(), PROMPT, count=tokens)
    async with app.run_test(size=(120, 36)) as pilot:
        while app.frame.snapshot is None or app.frame.activity != "idle":
            await pilot.pause(0.05)
        for _ in range(rounds + 1):
            done: list[float] = []

            def bare(session: Session, done: list[float] = done) -> None:
                """The same work on the same thread, with nobody to show it to."""
                mark = len(session.tokens)
                began = time.perf_counter()
                for _ in session.generate(tokens):
                    pass
                done.append(tokens / (time.perf_counter() - began))
                for _ in range(len(session.tokens) - mark):
                    session.take_back()

            app.runner.submit(bare)
            while not done:
                await asyncio.sleep(0.05)
            alone.append(done[0])
            before = len(app.frame.snapshot.tokens)
            began = time.perf_counter()
            await pilot.press("g")
            while len(app.frame.snapshot.tokens) < before + tokens:
                await asyncio.sleep(0.005)
            rates.append(tokens / (time.perf_counter() - began))
    return statistics.median(rates[1:]), alone[1:]


def screen_tax() -> None:
    print("(b) the tax of the screen: tokens/s in the app / of the session alone")
    for name, choice, tokens in (
        ("model1", ModelChoice(), 1_000),
        ("model5, GPT-2-sized", ModelChoice(name="model5", changes=GPT2), 60),
    ):
        app, alone = asyncio.run(app_rate(choice, tokens, ROUNDS))
        same = statistics.median(alone)
        print(f"    {name:<20} {app:6.1f} / {same:6.1f} = {app / same:.2f}   (the app's own thread policy)")
        model = load(choice)
        count = threads.apply(model.info.parameters, beside_screen=False)
        session = ready_session(model, model.tokenizer.encode(PROMPT))
        free = tokens / median_seconds(lambda: list(session.generate(tokens)))
        print(f"    {'':<20} {app:6.1f} / {free:6.1f} = {app / free:.2f}   (against the command line's, {count} threads)")


def start() -> None:
    print("(c) start of `tokenwalk` in a pseudo-terminal, median of fresh processes")
    paints, charts = zip(*(first_paint() for _ in range(ROUNDS)), strict=True)
    print(f"    first paint         {statistics.median(paints):.2f} s")
    print(f"    first distribution  {statistics.median(charts):.2f} s")
    helps = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "tui", "--help"], capture_output=True, check=True)
        helps.append(time.perf_counter() - began)
    print(f"    --help              {statistics.median(helps):.2f} s")


def first_paint() -> tuple[float, float]:
    """Seconds until the prompt panel is drawn, and until the chart has its first row."""
    began = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS="120", LINES="36")
        os.execv(sys.executable, [sys.executable, "-m", "tui", PROMPT])
    seen, painted = b"", 0.0
    while True:
        if select.select([terminal], [], [], 20)[0]:
            seen += os.read(terminal, 65536)
        now = time.perf_counter() - began
        if not painted and b"prompt" in seen:
            painted = now
        if b"others" in seen or now > 20:
            break
    os.write(terminal, b"q")
    os.close(terminal)
    os.waitpid(pid, 0)
    return painted, now


def knob() -> None:
    distribution = Distribution(torch.randn(100_277, generator=torch.Generator().manual_seed(0)))
    turn = 0

    def one() -> None:
        nonlocal turn
        turn += 1
        sampler = Sampler(temperature=0.5 + (turn % 50) / 100, top_k=40_000, top_p=0.9)
        chart(distribution, sampler, 50, lambda id: b"")

    for count in (1, 2):
        torch.set_num_threads(count)
        print(f"(d) a knob turned: {1e3 * median_seconds(one, 50):.2f} ms a chart   ({count} threads)")


if __name__ == "__main__":
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    knob()
    fast_path()
    screen_tax()
    start()
