"""Prints ratios to llama.cpp on the same GGUF files: `python tests/benchmarks/stored.py --llama FOLDER FILE.gguf …`.

For each file: a prompt (512 tokens) and decode (32 tokens), ours as stored against llama-bench on as many threads
(OMP_NUM_THREADS, else all cores). The sides take turns; the best of the rounds counts. Then the seconds that loading
takes here, and the peak memory of a fresh `tokenwalk generate` beside the size of the file.
"""

import argparse
import json
import math
import os
import subprocess
import time
from pathlib import Path

from core.engine import threads

threads.prepare(beside_screen=False, packed=True)

import torch  # noqa: E402
from speed import peak  # noqa: E402

from core.engine.cache import KVCache  # noqa: E402
from core.loading.choice import ModelChoice  # noqa: E402
from core.loading.model import Model  # noqa: E402
from core.loading.models import load_model  # noqa: E402

THREADS = threads.count(threads.SMALL, beside_screen=False)
TEXT = (
    "The library opens at nine. On Mondays a retired teacher reads the newspaper beside the window, and two children "
    "build a tower of dictionaries. In 1969 three people flew to the moon: def area(r): return 3.14159 * r ** 2. "
    "She asked how long the bread must rise; he said an hour, or until it is twice as large."
)
RUN = "runpy.run_module('tui', run_name='__main__')"


def forget(path: Path) -> None:
    """Leave the page cache, so that the file is read anew as one that was downloaded earlier: in larger pages."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def theirs(program: Path, weights: Path, prompt: int, count: int) -> tuple[float, float]:
    """Tokens a second of llama.cpp: prompt, decode."""
    where = {**os.environ, "LD_LIBRARY_PATH": str(program.parent)}
    where.pop("OMP_WAIT_POLICY", None)  # it is ours
    command = [str(program), "-m", str(weights), "-t", str(THREADS), "-p", str(prompt), "-n", str(count)]
    done = subprocess.run([*command, "-r", "1", "-o", "json"], env=where, capture_output=True, check=True)
    first, second = sorted(json.loads(done.stdout), key=lambda each: each["n_gen"])
    return max(first["samples_ts"]), max(second["samples_ts"])


@torch.inference_mode()
def ours(model: Model, prompt: int, count: int) -> tuple[float, float]:
    """Tokens a second of ours: prompt, decode from an empty context."""
    transformer = model.transformer
    ids = torch.arange(100, 100 + max(prompt, count + 1))[None]
    began = time.perf_counter()
    state = transformer.hidden(ids[:, :prompt], KVCache(transformer.config, 1, transformer.device, transformer.dtype))
    transformer.unembed(state[:, -1:])
    read = prompt / (time.perf_counter() - began)
    cache = KVCache(transformer.config, 1, transformer.device, transformer.dtype)
    transformer.step(ids[:, :1], cache)
    began = time.perf_counter()
    for n in range(1, count + 1):
        transformer.step(ids[:, n : n + 1], cache)
    return read, count / (time.perf_counter() - began)


@torch.inference_mode()
def divergence(model: Model, path: Path) -> float:
    """KL(fp32 ‖ stored) in bits, the mean over all positions of the text."""
    ids = torch.tensor([model.tokenizer.encode(TEXT)])
    whole = load_model(ModelChoice(name=str(path), device="cpu", dtype="fp32"))
    p, q = (each.transformer(ids)[0].double().log_softmax(-1) for each in (whole, model))
    return float((p.exp() * (p - q)).sum(-1).mean()) / math.log(2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--llama", type=Path, required=True, help="the folder of llama-bench")
    parser.add_argument("files", nargs="+", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(THREADS)
    for path in asked.files:
        forget(path)
        began = time.perf_counter()
        model = load_model(ModelChoice(name=str(path), device="cpu", dtype="stored"))
        seconds, sides = time.perf_counter() - began, {"llama.cpp": [0.0, 0.0], "ours": [0.0, 0.0]}
        for _ in range(asked.rounds):
            found = {"llama.cpp": theirs(asked.llama / "llama-bench", path, asked.prompt, 32)}
            found["ours"] = ours(model, asked.prompt, 32)
            sides = {name: [max(pair) for pair in zip(sides[name], found[name], strict=True)] for name in sides}
        (a, b), (c, d) = sides["llama.cpp"], sides["ours"]
        most = peak(RUN, "generate", "I prefer", "-m", str(path), "--dtype", "stored", "-n", "4")
        print(f"{model.info.format}, {THREADS} threads, {model.transformer.implementation}")
        print(f"    prompt {a:7.1f} → {c:7.1f} ({c / a:.2f}×)   decode {b:6.1f} → {d:6.1f} ({d / b:.2f}×)")
        print(f"    load {seconds:.2f} s   peak {most:.0f} MB, the file {path.stat().st_size / 1e6:.0f} MB")
        print(f"    KL(fp32 ‖ stored) {divergence(model, path):.2g} bits", flush=True)


if __name__ == "__main__":
    main()
