"""What keeping a walk of 10,000 nodes costs: the copy, the file, and a key that comes while it is written.

Then what saving costs while tokens are generated, with the journal and without.

Run: python tests/benchmarks/record.py
"""

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from core.engine import threads
from core.generation.token import Token
from core.loading.choice import ModelChoice
from core.loading.info import ModelInfo
from core.loading.model import Model
from core.loading.models import load_model
from core.sampling.sampler import Sampler
from core.sampling.values import Score
from core.sessions import reader, record, writer
from core.sessions.record import Record
from core.walk.session import Session
from core.walk.tree import Tree
from tui.autosave import Autosave

NODES = 10_000
INFO = ModelInfo("m", "m", 1, 100_277, 8, "cpu", "fp32", "cl100k", "random weights, seed 0", ModelChoice())


def grown() -> Tree:
    """A tree with a branch at each tenth token."""
    tree = Tree()
    path = [tree.child(tree.root, Token(0, b"a"))]
    sampler = Sampler.of(top_k=50)
    for n in range(1, NODES):
        if n % 10 == 0:
            path = path[: max(1, n * 7919 % len(path))]
        score = Score(n / 7, -n / NODES * 9, n / NODES * 11, n % 999)
        path.append(tree.child(path[-1], Token(n, b" token", "sampled", score, n / NODES, 1 / n, 0, sampler, INFO)))
    tree.visit(path, 0)
    return tree


def milliseconds(work: Callable[[], object], times: int = 15) -> float:
    """The median."""
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return 1e3 * statistics.median(spent)


def late(seconds: float = 3.0) -> float:
    """By how many ms a thread that wakes every 2 ms is late, p95: what a key would wait."""
    delays, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        wanted = time.perf_counter() + 0.002
        time.sleep(0.002)
        delays.append(time.perf_counter() - wanted)
    return 1e3 * statistics.quantiles(delays, n=20)[-1]


def beside(work: Callable[[], object]) -> float:
    """The same while another thread works without a pause."""
    stop = threading.Event()

    def go_on() -> None:
        while not stop.is_set():
            work()

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    found = late()
    stop.set()
    thread.join()
    return found


class WithoutJournal(Autosave):
    """Session files alone, as often."""

    def _note(self, session: Session) -> None:
        pass


def generated(kind: type[Autosave] | None, model: Model, count: int) -> tuple[float, float, float]:
    """Tokens a second, and the processor time of a token in µs: of the thread that runs the model, of all threads."""
    walk = Session(model)
    list(walk.prefill(model.tokenizer.encode("I prefer oat milk in")))
    with tempfile.TemporaryDirectory() as folder:
        saving = kind(Path(folder) / "sessions", lambda words, problem: print(words)) if kind else None
        wall, thread, process = time.perf_counter(), time.thread_time(), time.process_time()
        for _ in walk.generate(count):
            if saving:
                saving.write_if_due(walk)
        wall, thread = time.perf_counter() - wall, time.thread_time() - thread
        process = time.process_time() - process
        if saving:
            saving.close(20)
    return count / wall, 1e6 * thread / count, 1e6 * process / count


def journaled(choice: ModelChoice, count: int) -> None:
    """Print what saving costs a token, in turn with nothing saved."""
    model = load_model(choice)
    threads.apply(model.info.parameters, beside_screen=True)
    kinds = {"journal and files": Autosave, "files alone": WithoutJournal, "nothing saved": None}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in kinds}
    for _ in range(5):
        for name, kind in kinds.items():
            found[name].append(generated(kind, model, count))
    for name, values in found.items():
        rate, thread, process = (statistics.median(each) for each in zip(*values, strict=True))
        print(
            f"{model.info.tokenizer:<8}{name:<18}{rate:6.0f} tok/s, a token {thread:5.0f} µs, in all {process:5.0f} µs"
        )


def main() -> None:
    """Print the figures."""
    threads.prepare()
    tree = grown()
    end = max(tree.nodes.values(), key=lambda node: node.serial)

    def copy() -> Callable[[], Record]:
        return record.copy_tree(INFO, Sampler(), tree, end, 1)

    lay_out = copy()
    walk = lay_out()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "walk.json"
        writer.write_record(path, walk)
        copied, laid_out = milliseconds(copy), milliseconds(lay_out)
        written, read = (
            milliseconds(lambda: writer.write_record(path, walk)),
            milliseconds(lambda: reader.read_record(path)),
        )
        quiet, busy = late(), beside(lambda: writer.write_record(path, copy()()))
        python = beside(lambda: sum(n * n for n in range(1000)))
        size = path.stat().st_size
    print(f"{len(tree.nodes):,} nodes, {size / 2**20:.2f} MiB, {size / NODES:.0f} bytes a node")
    print(f"copied in {copied:.1f} ms; laid out {laid_out:.0f}, written {written:.0f}, read {read:.0f}")
    print(f"a thread that wakes is late by {quiet:.2f} ms (p95); while walks are written without a pause {busy:.2f};")
    print(f"beside any other thread that computes {python:.2f}")
    for choice, count in ((ModelChoice(device="cpu"), 1000), (ModelChoice(tokenizer="bytes", device="cpu"), 4000)):
        journaled(choice, count)


if __name__ == "__main__":
    sys.exit(main())
