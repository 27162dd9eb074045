"""Prints what the app costs in a real terminal: `python tests/benchmarks/in_app.py [--rounds 3] [MODEL …]`.

MODEL is model1, gpt2-sized (a `model5`) or smollm2; all by default. The app runs in a process and a pseudo-terminal of
its own, 120×36, and draws all panels. For each model, in turn in one run:

- tokens a second of `tokenwalk generate --json`, of `g` in the app, and of the session alone on the app's own thread;
- then, while tokens stream, the time from a key that the terminal sends to the painted answer.
"""

import asyncio
import fcntl
import json
import os
import pty
import statistics
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

PROMPT = "I prefer oat milk in"
KEYS = 60
MODELS: dict[str, tuple[list[str], int]] = {
    "model1": (["-m", "model1"], 1_000),
    "gpt2-sized": (
        ["-m", "model5", "--embed-dim", "768", "--context", "1024", "--blocks", "12", "--heads", "12"],
        60,
    ),
    "smollm2": (["-m", "smollm2"], 400),
}
"""For each model its options and how many tokens it generates."""


def command_rate(name: str) -> float:
    """Tokens a second that `tokenwalk generate --json` reports."""
    options, tokens = MODELS[name]
    command = [sys.executable, "-m", "tui", "generate", PROMPT, *options, "-n", str(tokens), "--json"]
    done = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()[-1]
    return float(json.loads(done)["tokens_per_second"])


class App:
    """The app in a process and a pseudo-terminal of its own; a line asks, a line of JSON answers."""

    def __init__(self, name: str) -> None:
        asks, self._asks = os.pipe()
        answers_from, answers = os.pipe()
        pid, self._terminal = pty.fork()
        if pid == 0:
            for kept in (asks, answers):
                os.set_inheritable(kept, True)
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
            os.execv(sys.executable, [sys.executable, __file__, "--child", name, str(asks), str(answers)])
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
        os.close(asks)
        os.close(answers)
        self._pid = pid
        self._answers = os.fdopen(answers_from)
        threading.Thread(target=self._drain, daemon=True).start()
        self._answers.readline()  # it is ready

    def _drain(self) -> None:
        try:
            while os.read(self._terminal, 1 << 16):
                pass
        except OSError:
            pass

    def ask(self, what: str) -> Any:
        """What the app answers."""
        os.write(self._asks, f"{what}\n".encode())
        return json.loads(self._answers.readline())

    def key_waits(self) -> list[float]:
        """Seconds from a key to its painted answer, while tokens stream."""
        waits = []
        self.ask("stream")
        time.sleep(1)
        for turn in range(KEYS):
            time.sleep(0.05 + 0.003 * (turn % 20))
            pressed = time.monotonic()
            os.write(self._terminal, b"\x1b[B" if turn % 20 < 10 else b"\x1b[A")
            waits.append(json.loads(self._answers.readline()) - pressed)
        return waits

    def close(self) -> None:
        """End the app."""
        os.write(self._asks, b"quit\n")
        os.waitpid(self._pid, 0)


def measure(name: str, rounds: int) -> None:
    app = App(name)
    rates: dict[str, list[float]] = {"command": [], "app": [], "alone": []}
    for _ in range(rounds):
        rates["command"].append(command_rate(name))
        rates["app"].append(app.ask("app"))
        rates["alone"].append(app.ask("alone"))
    waits = sorted(app.key_waits())
    app.close()
    command, shown, alone = (statistics.median(rates[side]) for side in ("command", "app", "alone"))
    print(
        f"{name:<11} {shown:6.1f} tokens/s in the app / {command:6.1f} of the command = {shown / command:.2f}; "
        f"/ {alone:6.1f} of the session alone = {shown / alone:.2f}"
    )
    print(
        f"{'':<11} each: " + ", ".join(f"{side} {' '.join(f'{r:.1f}' for r in each)}" for side, each in rates.items())
    )
    late = waits[int(0.95 * len(waits))]
    print(f"{'':<11} key to paint: median {1e3 * statistics.median(waits):.0f} ms, p95 {1e3 * late:.0f} ms", flush=True)


# In the process of the app -------------------------------------------------------------------------------------------


def child(name: str, asks: int, answers: int) -> None:
    """Run the app, and do what comes by `asks`."""
    from core.loading.choice import Hyperparameters, ModelChoice
    from core.sampling.sampler import Sampler
    from tui.app import TokenwalkApp

    sized = Hyperparameters(embed_dim=768, context=1024, blocks=12, heads=12)
    choice = ModelChoice(name="model5", changes=sized) if name == "gpt2-sized" else ModelChoice(name=name)
    tokens = MODELS[name][1]
    os.set_blocking(asks, False)

    def answer(value: object) -> None:
        os.write(answers, f"{json.dumps(value)}\n".encode())

    def timed(move: Callable[[int], None], by: int) -> None:
        move(by)
        app.walk.candidates.call_after_refresh(lambda: answer(time.monotonic()))

    async def drive(_pilot: object) -> None:
        await idle(app)
        answer("ready")
        while (what := await line(asks)) != "quit":
            if what == "app":
                app.walk.action_do("walking.generate")
                await asyncio.sleep(0.3)
                await idle(app)
                answer(app.state.frame.rate)
                app.runner.submit(lambda session: take_back(session, app.state.frame.generated))
                await idle(app)
            elif what == "alone":
                app.runner.submit(lambda session: answer(alone(session, tokens)))
                await idle(app)
            else:
                app.state.count = 100_000
                app.walk.candidates.move = partial(timed, app.walk.candidates.move)  # type: ignore[method-assign]
                app.walk.action_do("walking.generate")
                answer("streams")
        app.exit()

    app = TokenwalkApp(choice, Sampler(), PROMPT, count=tokens)
    app.run(auto_pilot=drive)


def take_back(session: Any, count: int) -> None:
    for _ in range(count):
        session.take_back()


def alone(session: Any, tokens: int) -> float:
    """Tokens a second with nobody to show them to."""
    began = time.perf_counter()
    count = sum(1 for _ in session.generate(tokens))
    rate = count / (time.perf_counter() - began)
    take_back(session, count)
    return rate


async def line(file: int) -> str:
    """The next line of a pipe."""
    text = b""
    while not text.endswith(b"\n"):
        try:
            text += os.read(file, 4096)
        except BlockingIOError:
            await asyncio.sleep(0.02)
    return text.decode().strip()


async def idle(app: Any) -> None:
    """Wait until the app has shown all it was asked."""
    await asyncio.sleep(0.1)
    while app.state.frame.snapshot is None or app.state.frame.activity != "idle" or not app.runner.at_rest:
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] == ["--child"]:
        child(arguments[1], int(arguments[2]), int(arguments[3]))
    else:
        rounds = 3
        if "--rounds" in arguments:
            at = arguments.index("--rounds")
            rounds = int(arguments[at + 1])
            del arguments[at : at + 2]
        for model in arguments or MODELS:
            measure(model, rounds)
