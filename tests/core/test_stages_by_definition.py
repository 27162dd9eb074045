"""Each stage of a sampler as llama.cpp and the papers define it, against slow versions in float64, to 1e-6."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import slow_stages as slow
import torch
from stage_cases import CASES, TEXTS, Letters, context, difference, normal, result
from torch import Tensor

from core.sampling.context import DrawContext

CLOSE = 1e-6
Step = Callable[[slow.Scores], slow.Scores]


@pytest.fixture(params=CASES)
def logits(request: pytest.FixtureRequest) -> Tensor:
    return CASES[request.param]


@pytest.fixture(params=TEXTS)
def ids(request: pytest.FixtureRequest) -> list[int]:
    return TEXTS[request.param]


def by_definition(logits: Tensor, *steps: Step) -> Tensor:
    """The scores [V] after slow stages; -inf for what they removed."""
    scores = dict(enumerate(logits.double().tolist()))
    for step in steps:
        scores = step(scores)
    found = torch.full_like(logits, -math.inf, dtype=torch.float64)
    for id, score in scores.items():
        found[id] = score
    return found


CUTS: list[tuple[str, Step]] = [
    ("temp=0", partial(slow.temp, temperature=0)),
    ("temp=0.3", partial(slow.temp, temperature=0.3)),
    *((f"top_k={k}", partial(slow.top_k, k=k)) for k in (1, 5, 40)),
    *((f"top_p={p}", partial(slow.top_p, p=p)) for p in (0.01, 0.7, 0.95)),
    *((f"min_p={m}", partial(slow.min_p, m=m)) for m in (0.01, 0.1, 1.0)),
    *((f"typical={p}", partial(slow.typical, p=p)) for p in (0.2, 0.7, 0.95)),
    *((f"top_n_sigma={n}", partial(slow.top_n_sigma, n=n)) for n in (0.25, 1.0, 2.5)),
    *((f"xtc=0.5:{t}", partial(slow.xtc, chance=0.5, threshold=t, drawn=0.2)) for t in (0.01, 0.1, 0.3, 0.6)),
    ("xtc=0.1:0.01", partial(slow.xtc, chance=0.1, threshold=0.01, drawn=0.2)),
    *(
        (f"dynatemp={r}:{e}:{t}", partial(slow.dynatemp, reach=r, exponent=e, temperature=t))
        for r, e, t in ((0.5, 1.0, 1.0), (1.5, 2.0, 0.8), (0.2, 0.5, 1.4))
    ),
    *(
        (f"mirostat={tau}:{eta}", partial(slow.mirostat, tau=tau, eta=eta, surprisals=(4.0, 0.25, 9.5)))
        for tau, eta in ((5.0, 0.1), (1.0, 0.5), (0.1, 1.0))
    ),
]


@pytest.mark.parametrize(("stage", "step"), CUTS, ids=[stage for stage, _ in CUTS])
def test_stages_equal_their_definition(logits: Tensor, stage: str, step: Step) -> None:
    where = context([1], chance=0.2, surprisals=(4.0, 0.25, 9.5))
    assert difference(logits, result(logits, stage, where), by_definition(logits, step)) < CLOSE


@pytest.mark.parametrize(("repeat", "frequency", "presence"), [(1.3, 0.0, 0.0), (1.0, 0.4, 0.7), (1.1, -0.2, 0.5)])
def test_the_three_penalties_in_a_row_equal_those_of_llama_cpp(
    logits: Tensor, ids: list[int], repeat: float, frequency: float, presence: float
) -> None:
    want = by_definition(
        logits, partial(slow.penalties, ids=ids, repeat=repeat, frequency=frequency, presence=presence)
    )
    stages = f"penalty={repeat},presence={presence},frequency={frequency}"
    assert difference(logits, result(logits, stages, context(ids)), want) < CLOSE


@pytest.mark.parametrize("window", [1, 3, 8])
def test_a_window_counts_the_last_tokens_only(ids: list[int], window: int) -> None:
    logits = CASES["usual"]
    penalized = partial(slow.penalties, ids=ids[-window:], repeat=1.2, frequency=0.3, presence=0.4)
    stages = f"penalty=1.2:{window},presence=0.4:{window},frequency=0.3:{window}"
    assert difference(logits, result(logits, stages, context(ids)), by_definition(logits, penalized)) < CLOSE


@pytest.mark.parametrize("settings", [(0.8, 1.75, 2), (1.5, 1.1, 1), (2.0, 3.0, 4), (0.5, 1.0, 2)], ids=str)
def test_dry_equals_its_definition(logits: Tensor, ids: list[int], settings: tuple[float, float, int]) -> None:
    def breaks(id: int) -> bool:
        return any(sign in Letters().piece(id) for sign in (b"\n", b":", b'"', b"*"))

    stage = f"dry={settings[0]}:{settings[1]}:{settings[2]}"
    want = by_definition(logits, partial(slow.dry, ids=ids, breaks=breaks, settings=settings))
    assert difference(logits, result(logits, stage, context(ids)), want) < CLOSE


def test_dry_without_breakers_sees_through_line_feeds() -> None:
    ids, logits = TEXTS["broken"], CASES["usual"]
    want = by_definition(logits, partial(slow.dry, ids=ids, breaks=lambda _: False, settings=(0.8, 1.75, 2)))
    got = result(logits, "dry=0.8:1.75:2:0:''", context(ids))
    assert difference(logits, got, want) < CLOSE
    assert difference(logits, result(logits, "dry=0.8", context(ids)), want) > CLOSE


@pytest.mark.parametrize(("beta", "alpha"), [(0.5, 0.1), (2.0, 0.3), (0.1, 0.001)])
def test_contrast_equals_its_definition(logits: Tensor, beta: float, alpha: float) -> None:
    other = normal(50, 2.0)
    where = context([1], guide=lambda kind, name: other.numpy())
    want = by_definition(logits, partial(slow.contrast, other=other.double().tolist(), beta=beta, alpha=alpha))
    kept, shares = result(logits, f"contrast={beta}:{alpha}", where)
    assert kept == set((want > -math.inf).nonzero()[:, 0].tolist())
    assert (torch.softmax(want, 0) - shares).abs().max() < CLOSE


def test_a_token_that_the_smaller_model_finds_impossible_wins() -> None:
    """The limit of the formula; it must not become NaN."""
    logits, other = CASES["usual"], normal(50, 2.0)
    other[logits.argmax()] = -math.inf
    where = context([1], guide=lambda kind, name: other.numpy())
    for stage in ("contrast=0.5", "cfg=1.5:'a'"):
        _, shares = result(logits, stage, where)
        assert shares[logits.argmax()] == pytest.approx(1)


def on(context: DrawContext) -> list[tuple[str, Step]]:
    ids: Sequence[int] = context.ids
    return [
        ("penalty=1.15", partial(slow.penalties, ids=ids, repeat=1.15, frequency=0, presence=0)),
        ("dry=0.8:1.75:2", partial(slow.dry, ids=ids, breaks=lambda id: id in (7, 11), settings=(0.8, 1.75, 2))),
        ("top_n_sigma=1.5", partial(slow.top_n_sigma, n=1.5)),
        ("top_k=40", partial(slow.top_k, k=40)),
        ("typical=0.95", partial(slow.typical, p=0.95)),
        ("top_p=0.95", partial(slow.top_p, p=0.95)),
        ("min_p=0.05", partial(slow.min_p, m=0.05)),
        ("xtc=0.5:0.1", partial(slow.xtc, chance=0.5, threshold=0.1, drawn=context.chance)),
        ("dynatemp=0.5", partial(slow.dynatemp, reach=0.5, exponent=1.0, temperature=1.0)),
        ("temp=0.8", partial(slow.temp, temperature=0.8)),
    ]


@pytest.mark.parametrize("turn", range(10))
@pytest.mark.parametrize("name", ["usual", "peaked", "flat", "far up"])
def test_a_whole_chain_in_any_order_equals_its_definition(name: str, turn: int) -> None:
    """The chain of llama.cpp in its order, and turned by one to nine places."""
    logits, where = CASES[name], context(TEXTS["repeats"], chance=0.3)
    chain = on(where)
    chain = chain[turn:] + chain[:turn]
    want = by_definition(logits, *(step for _, step in chain))
    kept, shares = result(logits, ",".join(stage for stage, _ in chain), where)
    assert kept == set((want > -math.inf).nonzero()[:, 0].tolist())
    assert (torch.softmax(want, 0) - shares).abs().max() < CLOSE


LIMITS: dict[str, Any] = {
    "temp=1e-6": "one",
    "top_p=1e-9": "one",
    "min_p=1": "one",
    "epsilon=1": "one",
    "eta=1": "one",
    "top_n_sigma=1e-9": "one",
    "mirostat=1e-6": "one",
    "typical=1": "all",
    "top_k=0": "all",
    "xtc=0": "all",
    "dry=0": "all",
    "penalty=1": "all",
    "dynatemp=0": "all",
    "mirostat=0": "all",
    "top_n_sigma=1000": "all",
}


@pytest.mark.parametrize("stage", LIMITS)
def test_a_stage_at_its_limit_keeps_the_likeliest_or_all(stage: str) -> None:
    logits = CASES["usual"]
    kept, shares = result(logits, stage, context(TEXTS["repeats"]))
    if LIMITS[stage] == "one":
        assert shares[logits.argmax()] > 0.999
    else:
        assert len(kept) == len(logits)
        assert (shares - torch.softmax(logits.double(), 0)).abs().max() < CLOSE
