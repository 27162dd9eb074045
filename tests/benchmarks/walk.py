"""Prints, in one run and as ratios, what the walk costs: `python tests/benchmarks/walk.py [--quick] [a b c d e f]`.

(a) Model 1 by the fast path against the article's own loop, at four context lengths, on the same threads.
(b) The tax of the screen: tokens a second in the running app (headless, 120×36, all panels) against the session alone.
(c) Start: first paint and first distribution, in fresh processes with a pseudo-terminal.
(d) Turning a knob: a new chart and its stages, and the sampler lens, from one distribution of V = 100,277.
(e) Keys while tokens stream: from the key to the painted answer, in the running app.
(f) A tree of 10,000 nodes: from the key to the painted tree, in the running app; and a step after travelling.
"""

import asyncio
import os
import platform
import pty
import random
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from core.engine import threads

threads.prepare()

import torch  # noqa: E402
from textual import events  # noqa: E402

from core.engine.device import devices  # noqa: E402
from core.engine.model import generate  # noqa: E402
from core.generation.token import Token  # noqa: E402
from core.loading.choice import Hyperparameters, ModelChoice  # noqa: E402
from core.loading.model import Model  # noqa: E402
from core.loading.models import load_model  # noqa: E402
from core.sampling.chart import chart  # noqa: E402
from core.sampling.distribution import Distribution  # noqa: E402
from core.sampling.explain import sampler_lens  # noqa: E402
from core.sampling.sampler import ORDERS, Order, Sampler  # noqa: E402
from core.sampling.values import Score  # noqa: E402
from core.walk.session import Session  # noqa: E402
from tui.app import TokenwalkApp  # noqa: E402
from tui.runner import Frame  # noqa: E402

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
    print("(a) Model 1, ms a token: the article's loop / the fast path, on the threads the policy gives")
    costs = {}
    for context in (8, 64, 256, 1024):
        slow, costs[context], count = loop_and_fast(context)
        figures = f"{1e3 * slow:7.2f} / {1e3 * costs[context]:5.2f} = {slow / costs[context]:6.1f}×"
        print(f"    context {context:>4}: {figures}   (threads: {count})")
    print(f"    cost(1024) / cost(8) = {costs[1024] / costs[8]:.2f}")


def loop_and_fast(context: int) -> tuple[float, float, int]:
    """Seconds a token of the article's loop and of the fast path, and the threads both had."""
    model = load_model(ModelChoice(changes=Hyperparameters(context=context)))
    count = threads.apply(model.info.parameters, beside_screen=False)
    ids = torch.randint(0, 100_000, (1, context), generator=torch.Generator().manual_seed(0))
    session = ready_session(model, ids[0].tolist())
    loop_tokens, fast_tokens = (4 if context > 256 else 10), 200
    loop, fast = [], []
    for _ in range(ROUNDS):
        loop.append(median_seconds(lambda: generate(model.transformer, ids, loop_tokens), 1) / loop_tokens)
        fast.append(median_seconds(lambda: list(session.generate(fast_tokens)), 1) / fast_tokens)
    return statistics.median(loop), statistics.median(fast), count


def free_rate(choice: ModelChoice, tokens: int) -> tuple[float, int]:
    """Tokens a second of the session where no screen has a core to itself, and the threads it had."""
    model = load_model(choice)
    count = threads.apply(model.info.parameters, beside_screen=False)
    session = ready_session(model, model.tokenizer.encode(PROMPT))
    return tokens / median_seconds(lambda: list(session.generate(tokens))), count


async def app_rates(choice: ModelChoice, tokens: int) -> tuple[float, float]:
    """Median tokens a second of `g` in the app, and of the session by itself on the app's own thread, in turn."""
    shown: list[float] = []
    alone: list[float] = []

    def bare(session: Session) -> None:
        """The same work on the same thread, with nobody to show it to."""
        began = time.perf_counter()
        for _ in session.generate(tokens):
            pass
        alone.append(tokens / (time.perf_counter() - began))
        for _ in range(tokens):
            session.take_back()

    app = TokenwalkApp(choice, Sampler(), PROMPT, count=tokens)
    async with app.run_test(size=(120, 36)):
        await idle(app)
        for turn in range(1, ROUNDS + 2):
            app.runner.submit(bare)
            while len(alone) < turn:
                await asyncio.sleep(0.05)
            await idle(app)
            app.walk.action_do("walking.generate")
            await asyncio.sleep(0.2)
            await idle(app)
            assert app.state.frame.generated == tokens and app.state.frame.rate is not None
            shown.append(app.state.frame.rate)
            for _ in range(tokens):
                app.walk.action_do("walking.take_back")
            await idle(app)
    return statistics.median(shown[1:]), statistics.median(alone[1:])


async def idle(app: TokenwalkApp) -> None:
    """Wait until the app has shown all it was asked."""
    await asyncio.sleep(0.05)
    while app.state.frame.snapshot is None or app.state.frame.activity != "idle":
        await asyncio.sleep(0.05)


def screen_tax() -> None:
    print("(b) the tax of the screen, tokens/s: in the app / the session alone")
    gpt2 = ModelChoice(name="model5", changes=GPT2)
    for name, choice, tokens in (("model1", ModelChoice(), 1_000), ("model5, GPT-2-sized", gpt2, 60)):
        shown, alone = asyncio.run(app_rates(choice, tokens))
        free, count = free_rate(choice, tokens)
        print(f"    {name:<20} {shown:6.1f} / {alone:6.1f} = {shown / alone:.2f}   (on the app's own threads)")
        print(f"    {'':<20} {shown:6.1f} / {free:6.1f} = {shown / free:.2f}   (on the command line's: {count})")


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

    def turned(**cuts: Any) -> Sampler:
        nonlocal turn
        turn += 1
        return Sampler.of(temperature=0.5 + (turn % 50) / 100, top_k=40_000, top_p=0.9, **cuts)

    def redraw() -> None:
        chart(distribution, turned(), 50, lambda id: b"")

    def explain(order: Order) -> None:
        sampler_lens(distribution, turned(min_p=0.001, order=order), 0.7, lambda id: b"")

    for count in (1, 2):
        torch.set_num_threads(count)
        print(f"(d) a knob turned: {1e3 * median_seconds(redraw, 50):.2f} ms a chart   ({count} threads)")
        for order in ORDERS:
            cost = median_seconds(lambda order=order: explain(order), 50)  # type: ignore[misc]
            print(f"    the sampler lens, {order}: {1e3 * cost:.2f} ms")


def keys_while_streaming() -> None:
    print("(e) key to paint while tokens stream, ms")
    gpt2 = ModelChoice(name="model5", changes=GPT2)
    for name, choice in (("model1", ModelChoice()), ("model5, GPT-2-sized", gpt2)):
        waits = sorted(asyncio.run(key_waits(choice)))
        middle, late = waits[len(waits) // 2], waits[int(0.95 * len(waits))]
        print(f"    {name:<20} median {1e3 * middle:.0f}, p95 {1e3 * late:.0f}, of {len(waits)} keys")


async def key_waits(choice: ModelChoice) -> list[float]:
    """Seconds from a key's arrival to the end of the refresh that shows its answer."""
    waits: list[float] = []
    app = TokenwalkApp(choice, Sampler(), PROMPT, count=100_000)
    async with app.run_test(size=(120, 36)):
        await idle(app)
        app.walk.action_do("walking.generate")
        await asyncio.sleep(1)
        move = app.walk.candidates.move
        pressed = 0.0

        def timed(by: int) -> None:
            move(by)
            app.walk.candidates.call_after_refresh(lambda: waits.append(time.perf_counter() - pressed))

        app.walk.candidates.move = timed  # type: ignore[method-assign]
        for turn in range(60):
            await asyncio.sleep(0.05 + 0.003 * (turn % 20))
            pressed = time.perf_counter()
            app.post_message(events.Key("down", None))
            while len(waits) <= turn:
                await asyncio.sleep(0.001)
    return waits


def big_tree() -> None:
    waits = sorted(asyncio.run(tree_waits(10_000)))
    middle, late = waits[len(waits) // 2], waits[int(0.95 * len(waits))]
    print(f"(f) key to paint in a tree of 10,000 nodes: median {1e3 * middle:.0f} ms, p95 {1e3 * late:.0f} ms")
    for name, choice in (("model1", ModelChoice()), ("model5, GPT-2-sized", ModelChoice(name="model5", changes=GPT2))):
        plain, travelled = step_costs(choice)
        figures = f"{1e3 * travelled:.2f} / {1e3 * plain:.2f} ms = {travelled / plain:.2f}"
        print(f"    {name:<20} a step after travelling / a plain step: {figures}")


def grow(session: Session, count: int) -> None:
    """Put tokens into the tree until it has so many: runs of a few, parting anywhere."""
    chance, tree = random.Random(0), session.tree
    score = Score(1.0, -11.0, 16.5, 50_000)
    nodes = [session.history.position.end]
    while len(tree.nodes) < count:
        parent = nodes[-1] if chance.random() < 0.8 else chance.choice(nodes)
        id = chance.randrange(100_000)
        nodes.append(tree.child(parent, Token(id, session.model.tokenizer.piece(id), "sampled", score, 0.5)))


async def tree_waits(count: int) -> list[float]:
    """Seconds from a key's arrival to the end of the refresh that shows the tree after it."""
    waits: list[float] = []
    app = TokenwalkApp(ModelChoice(), Sampler(), PROMPT)
    async with app.run_test(size=(120, 36)):
        await idle(app)
        app.walk.action_do("lens.look", ("branches",))
        app.act(lambda session: grow(session, count))
        await idle(app)
        await asyncio.sleep(1)
        show, pressed, waiting = app.walk.lens.show, 0.0, False

        def timed(frame: Frame) -> None:
            nonlocal waiting
            show(frame)
            if waiting:
                waiting = False
                app.walk.lens.call_after_refresh(lambda: waits.append(time.perf_counter() - pressed))

        app.walk.lens.show = timed  # type: ignore[method-assign]
        keys = ["down"] * 6 + ["space", "left", "space", "u", "up", "f", "f", "3", "end", "delete", "u"]
        for turn, key in enumerate(keys * (4 if QUICK else 12)):
            pressed, waiting = time.perf_counter(), True
            app.post_message(events.Key(key, None))
            while len(waits) <= turn:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)
    return waits


def step_costs(choice: ModelChoice) -> tuple[float, float]:
    """Median seconds of a step with its distribution, at the end and after travelling to a place in the past."""
    model = load_model(choice)
    threads.apply(model.info.parameters, beside_screen=True)
    session = ready_session(model, torch.randint(0, 100_000, (100,)).tolist())
    list(session.generate(20))
    costs: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(20 if QUICK else 60):
        for travels, seconds in costs.items():
            session.travel(105 + turn % 10 if travels else len(session.tokens))
            session.distribution()
            began = time.perf_counter()
            session.step()
            session.distribution()
            seconds.append(time.perf_counter() - began)
    return statistics.median(costs[False]), statistics.median(costs[True])


def machine() -> str:
    """The processor, as far as the system names it."""
    cpu = next(info for info in devices() if info.name == "cpu")
    return f"{cpu.label}, {os.cpu_count()} cores, torch {torch.__version__}, Python {platform.python_version()}"


if __name__ == "__main__":
    print(machine())
    parts = {"a": fast_path, "b": screen_tax, "c": start, "d": knob, "e": keys_while_streaming, "f": big_tree}
    for part in [arg for arg in sys.argv[1:] if arg in parts] or parts:
        parts[part]()
