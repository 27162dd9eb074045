"""Prints what the stages of a sampler cost, and how near their references they are.

Run it as `python tests/benchmarks/sampler.py [a b c]`.

(a) Eight stages over V = 100,277: what is drawn from, the chart and the lens, from one distribution, on one thread.
(b) Each stage by itself, over all of V and over the 40 tokens that top-k leaves.
(c) The worst difference of a probability from transformers and from slow float64 versions, over many random logits with
    ties, holes and extremes: the table of `core/sampling/stages/REFERENCES.md`.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from core.engine import threads

threads.prepare()
sys.path.insert(0, str(Path(__file__).parents[1] / "core"))

import slow_stages as slow  # noqa: E402
import torch  # noqa: E402
import transformers as hf  # noqa: E402
from stage_cases import SIZE, TEXTS, Letters, context, difference, result, with_extremes, with_holes  # noqa: E402
from torch import Tensor  # noqa: E402

from core.sampling.apply import apply_stages  # noqa: E402
from core.sampling.chart import chart  # noqa: E402
from core.sampling.context import DrawContext  # noqa: E402
from core.sampling.distribution import Distribution  # noqa: E402
from core.sampling.explain import sampler_lens  # noqa: E402
from core.sampling.sampler import Sampler  # noqa: E402

EIGHT = {
    "as people write them": "penalty=1.1,dry=0.8,top_k=40,typical=0.95,top_p=0.95,min_p=0.05,xtc=0.5,temp=0.8",
    "cutting little": "penalty=1.1,presence=0.5,temp=1.5,typical=0.99,top_p=0.99,epsilon=1e-9,dynatemp=0.5,xtc",
}
V = 100_277
WHERE = DrawContext(ids=[(n * 37) % 5000 for n in range(1000)], prompt_length=10, chance=0.1, tokens=Letters())


def median_ms(run: Callable[[], object], rounds: int = 25) -> float:
    run()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return 1e3 * statistics.median(seconds)


def eight() -> None:
    print("(a) eight stages, V = 100,277, ms: drawn from / chart / lens")
    torch.set_num_threads(1)
    for scale, name in ((1.0, "flat"), (3.0, "usual")):
        logits = scale * torch.randn(V, generator=torch.Generator().manual_seed(0))
        for words, stages in EIGHT.items():
            sampler, distribution = Sampler.read(stages), Distribution(logits)

            def piece(id: int) -> bytes:
                return b""

            costs = (
                median_ms(partial(apply_stages, distribution, sampler, WHERE)),
                median_ms(partial(chart, distribution, sampler, 50, piece, None, WHERE)),
                median_ms(partial(sampler_lens, distribution, sampler, 0.7, piece, 50, WHERE)),
            )
            print(f"    {name:<6} {words:<24} {' / '.join(f'{cost:.1f}' for cost in costs)}")


def alone() -> None:
    print("(b) one stage, V = 100,277, ms: over all tokens / over 40")
    distribution = Distribution(3 * torch.randn(V, generator=torch.Generator().manual_seed(0)))
    for stage in STAGES:
        costs = [
            median_ms(partial(apply_stages, distribution, Sampler.read(stages), WHERE), 9)
            for stages in (stage, f"top_k=40,{stage}" if not stage.startswith("top_k") else stage)
        ]
        print(f"    {stage:<16} {costs[0]:.2f} / {costs[1]:.2f}")


STAGES = (
    *("penalty=1.1", "presence=0.5", "frequency=0.5", "no_repeat=3", "dry=0.8", "top_n_sigma=1", "top_k=40"),
    *("typical=0.9", "top_p=0.9", "min_p=0.05", "epsilon=0.0009", "eta=0.0009", "xtc=0.5", "dynatemp=0.5"),
    *("mirostat=5", "temp=0.8"),
)


# References -----------------------------------------------------------------------------------------------------------


def logits_of_many_kinds(count: int) -> Iterator[Tensor]:
    """Random ones of many scales, some with ties, holes or extremes."""
    for seed in range(count):
        numbers = torch.Generator().manual_seed(1000 + seed)
        logits = (0.1, 1.0, 3.0, 10.0)[seed % 4] * torch.randn(SIZE, generator=numbers)
        kind = seed // 4 % 4
        yield (logits, logits.mul(2).round().div(2), with_holes(logits, 3), with_extremes(logits))[kind]


def by_definition(step: Callable[[slow.Scores], slow.Scores], logits: Tensor) -> Tensor:
    found = torch.full_like(logits, -torch.inf, dtype=torch.float64)
    for id, score in step(dict(enumerate(logits.double().tolist()))).items():
        found[id] = score
    return found


def by_transformers(make: Callable[..., Callable[[Tensor, Tensor], Tensor]], logits: Tensor) -> Tensor:
    return make()(torch.tensor([TEXTS["repeats"]]), logits.double()[None])[0]


def dry(scores: slow.Scores) -> slow.Scores:
    return slow.dry(scores, TEXTS["repeats"], lambda id: id in (7, 11), (0.8, 1.75, 2))


IDS = TEXTS["repeats"]
REFERENCES: list[tuple[str, str, Callable[[Tensor], Tensor]]] = [
    ("temp=0.7", "transformers", partial(by_transformers, partial(hf.TemperatureLogitsWarper, 0.7))),
    ("top_k=20", "transformers", partial(by_transformers, partial(hf.TopKLogitsWarper, 20))),
    ("top_p=0.9", "transformers", partial(by_transformers, partial(hf.TopPLogitsWarper, 0.9))),
    ("min_p=0.05", "transformers", partial(by_transformers, partial(hf.MinPLogitsWarper, 0.05))),
    ("typical=0.9", "transformers", partial(by_transformers, partial(hf.TypicalLogitsWarper, 0.9))),
    ("epsilon=0.01", "transformers", partial(by_transformers, partial(hf.EpsilonLogitsWarper, 0.01))),
    ("eta=0.01", "transformers", partial(by_transformers, partial(hf.EtaLogitsWarper, 0.01))),
    ("penalty=1.3", "transformers", partial(by_transformers, partial(hf.RepetitionPenaltyLogitsProcessor, 1.3))),
    ("no_repeat=3", "transformers", partial(by_transformers, partial(hf.NoRepeatNGramLogitsProcessor, 3))),
    (
        "bias='ef'+3;9-1",
        "transformers",
        partial(by_transformers, partial(hf.SequenceBiasLogitsProcessor, [[[4, 5], 3.0], [[9], -1.0]])),
    ),
    ("ban='fg';2", "transformers", partial(by_transformers, partial(hf.NoBadWordsLogitsProcessor, [[5, 6], [2]]))),
    ("temp=0.7", "float64", partial(by_definition, partial(slow.temp, temperature=0.7))),
    ("top_k=20", "float64", partial(by_definition, partial(slow.top_k, k=20))),
    ("top_p=0.9", "float64", partial(by_definition, partial(slow.top_p, p=0.9))),
    ("min_p=0.05", "float64", partial(by_definition, partial(slow.min_p, m=0.05))),
    ("typical=0.9", "float64", partial(by_definition, partial(slow.typical, p=0.9))),
    ("top_n_sigma=1", "float64", partial(by_definition, partial(slow.top_n_sigma, n=1.0))),
    ("xtc=0.5:0.1", "float64", partial(by_definition, partial(slow.xtc, chance=0.5, threshold=0.1, drawn=0.2))),
    (
        "dynatemp=0.5",
        "float64",
        partial(by_definition, partial(slow.dynatemp, reach=0.5, exponent=1.0, temperature=1.0)),
    ),
    ("mirostat=2", "float64", partial(by_definition, partial(slow.mirostat, tau=2.0, eta=0.1, surprisals=(4.0, 0.5)))),
    (
        "penalty=1.3,presence=0.4,frequency=0.2",
        "float64",
        partial(by_definition, partial(slow.penalties, ids=IDS, repeat=1.3, frequency=0.2, presence=0.4)),
    ),
    ("dry=0.8", "float64", partial(by_definition, dry)),
]


def references() -> None:
    print("(c) worst difference of a probability, over 400 random logits of 120 tokens\n")
    print("| stage | reference | worst difference |\n|---|---|---|")
    where = context(IDS, chance=0.2, surprisals=(4.0, 0.5))
    for stages, name, reference in REFERENCES:
        worst = 0.0
        for logits in logits_of_many_kinds(400):
            given = logits.clamp(min=-1e30) if stages.startswith("typical") and name == "transformers" else logits
            worst = max(worst, difference(given, result(given, stages, where), reference(given)))
        print(f"| `{stages}` | {name} | {worst:.0e} |")


if __name__ == "__main__":
    wanted = [each for each in sys.argv[1:] if each in "abc"] or ["a", "b", "c"]
    for letter, run in (("a", eight), ("b", alone), ("c", references)):
        if letter in wanted:
            run()
