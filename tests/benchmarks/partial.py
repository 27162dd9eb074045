"""Prints what a distribution costs that is known for its k likeliest tokens, and how many draws those decide.

Run it as `python tests/benchmarks/partial.py [MODEL [DTYPE]]`, by default `smollm2 stored`.

(a) From k log-probabilities to the distribution; the draw, the chart of 50 and the sampler lens after that, in ms.
(b) Of the draws along a text that the model generates: the share that k tokens decide, and half the width of the bounds
    of the entropy.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import fmean, median

from core.engine import threads

threads.prepare()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from core.loading.choice import ModelChoice  # noqa: E402
from core.loading.models import load_model  # noqa: E402
from core.sampling.bounds import high, low  # noqa: E402
from core.sampling.chart import chart  # noqa: E402
from core.sampling.distribution import Distribution  # noqa: E402
from core.sampling.draw import draw, uniform  # noqa: E402
from core.sampling.explain import sampler_lens  # noqa: E402
from core.sampling.next_distribution import NeedsMore, NextDistribution  # noqa: E402
from core.sampling.partial import next_distribution  # noqa: E402
from core.sampling.sampler import Sampler  # noqa: E402
from core.walk.session import Session  # noqa: E402

V = 49_152
SAMPLERS = ("temp=1", "temp=0.8", "top_p=0.95", "top_k=40,top_p=0.95,min_p=0.05,temp=0.8", "min_p=0.05,temp=0.8")
TOKENS = 200


def median_ms(run: Callable[[], object], rounds: int = 40) -> float:
    run()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return 1e3 * median(seconds)


def cut(logits: torch.Tensor, known: int) -> tuple[np.ndarray, np.ndarray]:
    """The ids and the log-probabilities of the `known` likeliest tokens, as an engine tells them."""
    logprobs = logits.double().log_softmax(-1).numpy()
    ids = np.sort(np.argsort(-logprobs, kind="stable")[:known])
    return ids, logprobs[ids]


def piece(id: int) -> bytes:
    return b""


def costs() -> None:
    print(f"(a) V = {V:,}, ms: made / drawn / chart / lens")
    logits = 3 * torch.randn(V, generator=torch.Generator().manual_seed(0))
    sampler = Sampler.read("top_k=40,top_p=0.95,min_p=0.05,temp=0.8")
    for name, chosen in (("neutral", Sampler()), ("usual", sampler)):
        for known in (20, 50, 1000, V):
            ids, logprobs = cut(logits, known)
            cost = partial(cost_of, ids, logprobs)
            made = cost(lambda found: found)
            asked = (partial(_draw, chosen), partial(_chart, chosen), partial(_lens, chosen))
            words = " / ".join(f"{each:.2f}" for each in (made, *(cost(ask) - made for ask in asked)))
            print(f"    {name:<8} {known:>6,} known: {words}")


def cost_of(ids: np.ndarray, logprobs: np.ndarray, ask: Callable[[NextDistribution], object]) -> float:
    return median_ms(lambda: ask(next_distribution(ids, logprobs, V)))


def _draw(sampler: Sampler, found: NextDistribution) -> object:
    return draw(found, sampler, 0.01)


def _chart(sampler: Sampler, found: NextDistribution) -> object:
    return chart(found, sampler, 50, piece)


def _lens(sampler: Sampler, found: NextDistribution) -> object:
    return sampler_lens(found, sampler, 0.01, piece)


def decided(distribution: NextDistribution, sampler: Sampler, u: float, wanted: int) -> bool:
    try:
        found = draw(distribution, sampler, u)
    except NeedsMore:
        return False
    assert found.id == wanted
    return True


def draws(name: str, dtype: str) -> None:
    print(f"(b) {name} {dtype}, {TOKENS} draws, decided by k tokens; half the width of H, mean, bits")
    model = load_model(ModelChoice(name=name, dtype=dtype))
    walk = Session(model)
    list(walk.prefill(model.tokenizer.encode("I prefer oat milk in my coffee, because")))
    rows = []
    for _ in range(TOKENS):
        rows.append(walk.distribution().logits)
        walk.step()
    for known in (5, 20, 50, 200, 1000):
        partials = [next_distribution(*cut(row, known), len(row)) for row in rows]
        gap = fmean(high(each.entropy_bits) - low(each.entropy_bits) for each in partials)
        counts = []
        for line in SAMPLERS:
            sampler = Sampler.read(line)
            us = [uniform(0, at) for at in range(TOKENS)]
            wanted = [draw(Distribution(row), sampler, u).id for row, u in zip(rows, us, strict=True)]
            counts.append(sum(map(decided, partials, [sampler] * TOKENS, us, wanted)) / TOKENS)
        print(f"    {known:>5,} known: H ± {gap / 2:.3f}; " + ", ".join(f"{each:.1%}" for each in counts))
    print("    samplers: " + " · ".join(SAMPLERS))


if __name__ == "__main__":
    costs()
    draws(*(sys.argv[1:] or ["smollm2", "stored"]))
