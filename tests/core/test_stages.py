"""Each stage of a sampler against the logits processors of transformers: kept sets, and probabilities to 1e-6."""

from collections.abc import Callable

import pytest
import torch
import transformers as hf
from stage_cases import CASES, TEXTS, Letters, context, difference, normal, result
from torch import Tensor

CLOSE = 1e-6
Processor = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture(params=CASES)
def logits(request: pytest.FixtureRequest) -> Tensor:
    return CASES[request.param]


@pytest.fixture(params=TEXTS)
def ids(request: pytest.FixtureRequest) -> list[int]:
    return TEXTS[request.param]


def theirs(processor: Processor, logits: Tensor, ids: list[int]) -> Tensor:
    """The scores [V] of transformers, in float64."""
    return processor(torch.tensor([ids]), logits.double()[None])[0]


CUTS: list[tuple[str, Processor]] = [
    *((f"temp={t}", hf.TemperatureLogitsWarper(t)) for t in (0.05, 0.7, 1.3, 8.0)),
    *((f"top_k={k}", hf.TopKLogitsWarper(k)) for k in (1, 2, 7, 40, 1000)),
    *((f"top_p={p}", hf.TopPLogitsWarper(p)) for p in (1e-6, 0.1, 0.5, 0.9, 0.999)),
    *((f"min_p={p}", hf.MinPLogitsWarper(p)) for p in (0.001, 0.05, 0.4, 1.0)),
    *((f"typical={p}", hf.TypicalLogitsWarper(p)) for p in (0.05, 0.3, 0.9, 0.99)),
    *((f"epsilon={e}", hf.EpsilonLogitsWarper(e)) for e in (1e-5, 9e-4, 0.02, 0.5)),
    *((f"eta={e}", hf.EtaLogitsWarper(e)) for e in (1e-5, 9e-4, 0.02, 0.5)),
]


@pytest.mark.parametrize(("stage", "processor"), CUTS, ids=[stage for stage, _ in CUTS])
def test_cuts_equal_those_of_transformers(logits: Tensor, stage: str, processor: Processor) -> None:
    """In a tie across a cut transformers keeps all of it, or some of it in the order of its sort."""
    if stage.startswith("typical") and (logits == -torch.inf).any():
        logits = logits.clamp(min=-1e30)  # its entropy of a hole is NaN
    assert difference(logits, result(logits, stage), theirs(processor, logits, [0])) < CLOSE


@pytest.mark.parametrize("theta", [0.8, 1.1, 1.5])
def test_the_repetition_penalty_equals_that_of_transformers(logits: Tensor, ids: list[int], theta: float) -> None:
    want = theirs(hf.RepetitionPenaltyLogitsProcessor(theta), logits, ids)
    assert difference(logits, result(logits, f"penalty={theta}", context(ids)), want) < CLOSE


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_no_repeat_equals_that_of_transformers(ids: list[int], n: int) -> None:
    logits = CASES["usual"]
    want = theirs(hf.NoRepeatNGramLogitsProcessor(n), logits, ids)
    assert difference(logits, result(logits, f"no_repeat={n}", context(ids)), want) < CLOSE


@pytest.mark.parametrize(
    ("stage", "processor"),
    [
        ("bias=13+2.5;7-1", hf.SequenceBiasLogitsProcessor([[[13], 2.5], [[7], -1.0]])),
        ("bias='ef'+3;'efg'-4;9+1", hf.SequenceBiasLogitsProcessor([[[4, 5], 3.0], [[4, 5, 6], -4.0], [[9], 1.0]])),
        ("ban=13;7", hf.NoBadWordsLogitsProcessor([[13], [7]])),
        ("ban='fg';'efg';'fj';2", hf.NoBadWordsLogitsProcessor([[5, 6], [4, 5, 6], [5, 9], [2]])),
    ],
    ids=["bias of ids", "bias of texts", "ban of ids", "ban of texts"],
)
def test_biases_and_bans_equal_those_of_transformers(
    logits: Tensor, ids: list[int], stage: str, processor: Processor
) -> None:
    """A text is biased or banned at its last token, where its other tokens have just come."""
    assert difference(logits, result(logits, stage, context(ids)), theirs(processor, logits, ids)) < CLOSE


class OneAnswer:
    """A model that answers the guidance processor with fixed logits."""

    def __init__(self, logits: Tensor) -> None:
        self._logits = logits.double()[None, None]

    def __call__(self, *_: object, **__: object) -> "OneAnswer":
        return self

    @property
    def logits(self) -> Tensor:
        return self._logits

    def get(self, *_: object) -> None:
        return None


@pytest.mark.parametrize("scale", [0.5, 1.5, 4.0])
def test_guidance_equals_that_of_transformers(scale: float) -> None:
    """The scores move away from those after the negative prompt."""
    for seed, name in enumerate(("usual", "flat", "ties", "extremes", "far up")):
        logits, negative = CASES[name], normal(100 + seed, 2.0)
        processor = hf.UnbatchedClassifierFreeGuidanceLogitsProcessor(
            scale, OneAnswer(negative), torch.tensor([[1]]), use_cache=False
        )
        where = context([1, 2], guide=lambda kind, text, found=negative: found.numpy())
        want = theirs(processor, logits, [1, 2])
        assert difference(logits, result(logits, f"cfg={scale}:'a'", where), want) < CLOSE


ROWS = [
    "temp=0.7,top_k=40,top_p=0.9,min_p=0.02",
    "top_k=60,typical=0.9,top_p=0.8,temp=1.7",
    "penalty=1.2,no_repeat=2,temp=0.6,epsilon=0.001,top_k=20",
    "eta=0.002,temp=1.5,penalty=1.3,min_p=0.05",
]


@pytest.mark.parametrize("stages", ROWS)
def test_rows_of_stages_equal_those_of_transformers(ids: list[int], stages: str) -> None:
    """Temperature and penalties may stand anywhere."""
    made: dict[str, Callable[[float], Processor]] = {
        "temp": hf.TemperatureLogitsWarper,
        "top_k": lambda k: hf.TopKLogitsWarper(int(k)),
        "top_p": hf.TopPLogitsWarper,
        "min_p": hf.MinPLogitsWarper,
        "typical": hf.TypicalLogitsWarper,
        "epsilon": hf.EpsilonLogitsWarper,
        "eta": hf.EtaLogitsWarper,
        "penalty": hf.RepetitionPenaltyLogitsProcessor,
        "no_repeat": lambda n: hf.NoRepeatNGramLogitsProcessor(int(n)),
    }
    for logits in (CASES["usual"], CASES["peaked"], CASES["far down"]):
        scores = logits.double()[None]
        for stage in stages.split(","):
            name, value = stage.split("=")
            scores = made[name](float(value))(torch.tensor([ids]), scores)
        assert difference(logits, result(logits, stages, context(ids)), scores[0]) < CLOSE


def test_a_text_outside_the_vocabulary_is_one_line() -> None:
    with pytest.raises(ValueError, match="ban: no such token"):
        result(CASES["usual"], "ban=500", context([1]))


assert Letters.vocab_size == len(CASES["usual"])
