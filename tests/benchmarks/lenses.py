"""Prints what looking inside costs: `python tests/benchmarks/lenses.py [model [dtype [tokens]]]`."""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from core.engine import threads

threads.prepare()

import torch  # noqa: E402

from core.activations.trace import ids_of, step_at, trace_step  # noqa: E402
from core.engine.prefix import Prefix  # noqa: E402
from core.lenses import NAMES, lens  # noqa: E402
from core.loading.choice import ModelChoice  # noqa: E402
from core.loading.model import Model  # noqa: E402
from core.loading.models import load_model  # noqa: E402
from core.progress import Progress  # noqa: E402
from core.training.dataset import REFERENCE  # noqa: E402


def seconds(run: Callable[[], object], rounds: int = 9) -> float:
    """Median wall time of `run`, after one run that is not counted."""
    run()
    spent = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def walked(model: Model, count: int) -> tuple[list[int], Prefix]:
    text = model.tokenizer.encode(REFERENCE * (1 + count // 100))
    ids, prefix = text[: min(count, model.info.context)], Prefix(model.transformer)
    prefix.append([ids])
    prefix.logits([len(ids) - 1])
    return ids, prefix


def opened(answers: Iterator[Any]) -> tuple[float, float, float]:
    """Seconds to the first answer and to the last, and the longest silence."""
    began = last = time.perf_counter()
    first, silence = 0.0, 0.0
    for answer in answers:
        now = time.perf_counter()
        silence, last = max(silence, now - last), now
        if not first and not isinstance(answer, Progress):
            first = now - began
    return first, last - began, silence


def main(name: str = "smollm2", dtype: str = "auto", tokens: str = "500") -> None:
    model = load_model(ModelChoice(name=name, dtype=dtype, device="cpu"))
    used = threads.apply(model.info.parameters, beside_screen=False)
    ids, prefix = walked(model, int(tokens))
    step = step_at(model, ids, prefix)
    assert step.cache

    @torch.inference_mode()
    def plain() -> None:
        model.transformer(ids_of(step)[:, -1:], step.cache)
        assert step.cache
        step.cache.rewind(len(ids) - 1)

    one = seconds(plain)
    print(
        f"{model.info.name} in {model.info.dtype}, {len(ids)} tokens, {used} threads: a step takes {1000 * one:.1f} ms"
    )
    print(f"tracing it       {seconds(lambda: list(trace_step(step))) / one:.2f} steps")
    print(f"copying the past {seconds(lambda: prefix.past(len(ids) - 1)) / one:.2f} steps")
    for each in NAMES:
        if each == "attention" and not model.transformer.config.blocks:
            continue
        first, whole, silence = opened(lens(each)(step_at(model, ids, prefix)))
        print(f"{each:<12} opens in {first:6.2f} s, is whole in {whole:6.2f} s, longest silence {silence:5.2f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
