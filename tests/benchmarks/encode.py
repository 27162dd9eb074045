"""Prints what the tokenizer of a model costs, against cl100k by tiktoken: `encode.py [MODEL …]`, else smollm2.

For each model the median of reading the tokenizer from its files, of encoding 100,000 characters of Python and English,
and of encoding 20,000, the longest prompt that is encoded on the screen's thread at each key.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from core.loading import catalog, tokenizers
from core.tokenizers.tokenizer import Tokenizer

ROUNDS = 7
SOURCES = sorted(Path(__file__).parents[2].joinpath("core").rglob("*.py"))
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)[:100_000]


def median(run: Callable[[], object]) -> float:
    """Median seconds of `run`."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def read(name: str) -> Tokenizer:
    location = catalog.find(name)
    assert location, f"{name} is not on this machine"
    tokenizers.cached_tokenizer.cache_clear()
    return tokenizers.load_model_tokenizer(location.path, name)


def main() -> None:
    cl100k = tokenizers.load_tokenizer("cl100k")
    known = {length: median(lambda length=length: cl100k.encode(TEXT[:length])) for length in (100_000, 20_000)}
    for name in sys.argv[1:] or ["smollm2"]:
        print(f"{name}: read in {median(lambda name=name: read(name)):.3f} s")
        own = read(name)
        for length, seconds in known.items():
            took = median(lambda length=length, own=own: own.encode(TEXT[:length]))
            print(f"  {length:,} characters: {took * 1000:.1f} ms, {took / seconds:.1f} × cl100k by tiktoken")


if __name__ == "__main__":
    main()
