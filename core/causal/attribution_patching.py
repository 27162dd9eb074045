"""Attribution patching: every cell of the maps of activation patching estimated by one backward pass.

(a_clean − a_corrupt) · ∂m/∂a at the corrupt run is the first-order estimate of how the patched measure changes (Nanda
2023, "Attribution Patching"). It is normalized as the exact maps are, so that both can be compared.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.causal.backward import Site, embedded, gradients
from core.causal.patching import MapName
from core.causal.prompt_pair import PromptPair
from core.progress import Progress

ATTENTION, MLP, HEADS = Site("attention"), Site("feed_forward"), Site("attention.out", 0)
Values = Sequence[Sequence[float | None]]


@torch.inference_mode()
def estimated_maps(
    pair: PromptPair, corrupt: Sequence[int]
) -> Generator[Progress, None, dict[MapName, list[list[float]]]]:
    """The estimate of each map, [layer × position] or [layer × head]; `corrupt` are the ids of the corrupt prompt."""
    transformer = pair.transformer
    ids = torch.tensor([list(corrupt)], device=transformer.device)
    found = yield from gradients(transformer, embedded(transformer, ids), pair.target.measure, (ATTENTION, MLP, HEADS))
    layers, size = range(len(transformer.blocks)), transformer.config.head_dim
    span = pair.high - pair.low

    def at_positions(clean: Tensor, corrupt: Tensor, gradient: Tensor) -> list[float]:
        return (((clean - corrupt) * gradient[0]).sum(-1) / span).tolist()

    def of_heads(clean: Tensor, corrupt: Tensor, gradient: Tensor) -> list[float]:
        return (((clean - corrupt) * gradient[0]).sum(0).unflatten(-1, (-1, size)).sum(-1) / span).tolist()

    def of_site(clean: Sequence[Tensor], corrupt: Sequence[Tensor], site: Site) -> list[list[float]]:
        return [at_positions(clean[n], corrupt[n], found.gradients[n, site]) for n in layers[: len(clean)]]

    clean, other = pair.clean, pair.corrupt
    return {
        "residual": [at_positions(clean.streams[n], other.streams[n], found.stream_gradients[n]) for n in layers],
        "attention": of_site(clean.attention, other.attention, ATTENTION),
        "mlp": of_site(clean.mlp, other.mlp, MLP),
        "heads": [of_heads(clean.heads[n], other.heads[n], found.gradients[n, HEADS]) for n in layers],
    }


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well the estimates of a map agree with its exact values, over the cells that are known."""

    map: MapName
    pearson: float | None
    """Pearson's correlation; None where either side does not vary."""
    spearman: float | None
    """The correlation of the ranks, equal values sharing the mean of theirs."""


def agreement(name: MapName, exact: Values, estimated: Values, first: int) -> Agreement:
    """Compare a map with its estimate; of positions only those from `first` on, at which both runs differ."""
    start = 0 if name == "heads" else first
    pairs = [
        (value, estimate)
        for row, other in zip(exact, estimated, strict=True)
        for value, estimate in list(zip(row, other, strict=True))[start:]
        if value is not None and estimate is not None
    ]
    if len(pairs) < 3:
        return Agreement(name, None, None)
    values, estimates = torch.tensor(pairs, dtype=torch.float64).T
    return Agreement(name, _correlation(values, estimates), _correlation(_ranks(values), _ranks(estimates)))


def _correlation(a: Tensor, b: Tensor) -> float | None:
    a, b = a - a.mean(), b - b.mean()
    size = (a.norm() * b.norm()).item()
    return (a @ b).item() / size if size > 0 else None


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 1; equal values have the mean of theirs, [n]."""
    _, which, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    return (last - (counts - 1) / 2)[which].double()
