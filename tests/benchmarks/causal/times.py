"""Prints what each experiment costs beside a plain step: `python tests/benchmarks/causal/times.py [MODEL [DTYPE]]`.

The prompt is the sentence of Wang et al. 2022, repeated to 30 tokens where it is shorter. For each experiment: seconds
to its first answer and to its last, and the last as a multiple of one generation step.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from core.engine import threads

threads.prepare()

import torch  # noqa: E402

from core.activations.trace import Step, ids_of, step_at  # noqa: E402
from core.causal.question import CausalQuestion  # noqa: E402
from core.errors import UserError  # noqa: E402
from core.lenses import experiments, lens  # noqa: E402
from core.loading.choice import ModelChoice  # noqa: E402
from core.loading.models import load_model  # noqa: E402
from core.progress import Progress  # noqa: E402

CLEAN = "When Mary and John went to the store, John gave a drink to"
CORRUPT = "When Mary and John went to the store, Mary gave a drink to"
TOKENS = 30


def seconds(run: Callable[[], object], rounds: int = 9) -> float:
    """Median wall time of `run`, after one run that is not counted."""
    run()
    spent = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def opened(answers: Iterator[Any]) -> tuple[float, float]:
    """Seconds to the first answer and to the last."""
    began, first = time.perf_counter(), 0.0
    for answer in answers:
        if not first and not isinstance(answer, Progress):
            first = time.perf_counter() - began
    return first, time.perf_counter() - began


@torch.inference_mode()
def plain_step(step: Step) -> None:
    """One generation step at the position that is examined."""
    assert step.cache
    last = len(step.ids) - 1
    step.model.transformer(ids_of(step)[:, last:], step.cache)
    step.cache.rewind(last)


def main(name: str = "smollm2", dtype: str = "auto") -> None:
    model = load_model(ModelChoice(name=name, dtype=dtype, device="cpu"))
    used = threads.apply(model.info.parameters, beside_screen=False)
    clean, corrupt = ((model.tokenizer.encode(text) * 5)[:TOKENS] for text in (CLEAN, CORRUPT))
    prefix = model.sequences()
    prefix.append([clean])
    prefix.distributions([len(clean) - 1])
    step = step_at(model, clean, prefix)
    plain = seconds(lambda: plain_step(step))
    print(f"{model.info.label}, {used} threads, {len(clean)} tokens; a plain step {1000 * plain:.1f} ms")
    for experiment in experiments():
        try:
            asked = CausalQuestion(corrupt=tuple(corrupt))
            list(lens(experiment)(step_at(model, clean, prefix), asked))
            first, last = opened(lens(experiment)(step_at(model, clean, prefix), asked))
        except UserError as error:
            print(f"{experiment:<14} {error}")
        else:
            print(f"{experiment:<14} first {first:7.3f} s, whole {last:7.3f} s, {last / plain:7.1f} plain steps")


if __name__ == "__main__":
    main(*sys.argv[1:])
