"""Prints a table of GGUF's types: `python tests/benchmarks/gguf_types.py --llama FOLDER [--parts speed,kl] [TYPE …]`.

`speed`: a model in the sizes of TinyLlama 1.1B of random blocks of the type, against llama-bench on the
same file: prompt and decode, seconds to load it, and the peak memory of a fresh `tokenwalk generate`.

`kl`: SmolLM2, its rows filled up with zeros to whole blocks, as llama-quantize makes the type. KL(float32 ‖ type)
is what the type loses, KL(type ‖ stored) what computing with its blocks adds to that; means over a text.

Writes up to 5 GB of scratch files into the current folder, and deletes them.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import gguf_files
import stored
import torch
from torch import Tensor

from core.loading.choice import ModelChoice
from core.loading.model import Model
from core.loading.models import load_model

TYPES = (
    "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "F16", "BF16",
    "F32", "MXFP4", "TQ1_0", "TQ2_0", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S",
)  # fmt: skip
"""Those that are computed from their own blocks, then those that are unpacked."""
IMPORTANT_TEXT = Path(__file__).parents[2] / "README.md"
"""The text by which llama-imatrix tells which columns matter."""


def load(path: Path, dtype: str) -> Model:
    return load_model(ModelChoice(name=str(path), device="cpu", dtype=dtype))


def speed(path: Path, llama: Path, rounds: int, prompt: int) -> list[str]:
    """File size, load, peak, prompt, decode."""
    stored.forget(path)
    began = time.perf_counter()
    model = load(path, "stored")
    seconds, sides = time.perf_counter() - began, {"llama.cpp": [0.0, 0.0], "ours": [0.0, 0.0]}
    for _ in range(rounds):
        found = {
            "llama.cpp": stored.theirs(llama / "llama-bench", path, prompt, 32),
            "ours": stored.ours(model, prompt, 32),
        }
        sides = {name: [max(pair) for pair in zip(sides[name], found[name], strict=True)] for name in sides}
    del model
    most = stored.peak(stored.RUN, "generate", "I prefer", "-m", str(path), "--dtype", "stored", "-n", "4")
    rates = [f"{own:,.1f} ({own / other:.2f}×)" for own, other in zip(sides["ours"], sides["llama.cpp"], strict=True)]
    return [f"{path.stat().st_size / 1e6:,.0f}", f"{seconds:.2f}", f"{most:,.0f}", *rates]


class Divergences:
    """KL divergences of SmolLM2 in each type."""

    def __init__(self, llama: Path, folder: Path) -> None:
        self._original = folder / "original.gguf"
        gguf_files.write_padded(self._original)
        text = IMPORTANT_TEXT.read_text(encoding="utf-8")
        self._quantizer = gguf_files.Quantizer(llama, self._original, text)
        self._exact = self._log_probabilities(load(self._original, "fp32"))

    def of(self, name: str, path: Path) -> list[str]:
        """KL(float32 ‖ type) and KL(type ‖ stored), bits."""
        self._quantizer.write(path, name)
        unpacked, computed = (self._log_probabilities(load(path, dtype)) for dtype in ("fp32", "stored"))
        return [f"{_bits(self._exact, unpacked):.2g}", f"{_bits(unpacked, computed):.1g}"]

    @torch.inference_mode()
    def _log_probabilities(self, model: Model) -> Tensor:
        ids = torch.tensor([model.tokenizer.encode(stored.TEXT)])
        return model.transformer(ids)[0].double().log_softmax(-1)


def _bits(p: Tensor, q: Tensor) -> float:
    return float((p.exp() * (p - q)).sum(-1).mean()) / math.log(2)


def table(title: str, names: Sequence[str], cells: Callable[[str], list[str]]) -> None:
    """Print a Markdown table, a row a type."""
    print(f"| {title} |\n|{'---|' * len(title.split('|'))}")
    for name in names:
        print(f"| {name} | {' | '.join(cells(name))} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--llama", type=Path, required=True, help="the folder of llama.cpp's programs")
    parser.add_argument("--parts", default="speed,kl")
    parser.add_argument("types", nargs="*", default=TYPES)
    asked = parser.parse_args()
    torch.set_num_threads(stored.THREADS)
    with tempfile.TemporaryDirectory(dir=".") as scratch:
        path = Path(scratch) / "model.gguf"

        def speeds(name: str) -> list[str]:
            gguf_files.write_random(path, name)
            return speed(path, asked.llama, asked.rounds, asked.prompt)

        if "speed" in asked.parts:
            table("type | file, MB | load, s | peak, MB | prompt | decode", asked.types, speeds)
        if "kl" in asked.parts:
            divergences = Divergences(asked.llama, Path(scratch))
            table("type | KL(float32 ‖ type), bits | KL(type ‖ stored)", asked.types, lambda n: divergences.of(n, path))


if __name__ == "__main__":
    main()
