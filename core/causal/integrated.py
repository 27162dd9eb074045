"""Which tokens of the prompt a measure comes from: input × gradient, and integrated gradients along a straight path.

With E the embeddings of the prompt [T, width] and E₀ a baseline, token t gets

- `input × gradient`: E[t] · ∂m/∂E[t] (Shrikumar et al. 2016, §3.2),
- integrated gradients: (E[t] - E₀[t]) · ∫₀¹ ∂m/∂E[t] at E₀ + α (E - E₀) dα (Sundararajan et al. 2017, eq. 1).

The latter sum to m(E) - m(E₀): completeness (their proposition 1). It also holds on each part of the path. So the
integral is taken by Boole's rule on parts, and each part whose sum misses its rise too far is halved. Its five points
are also points of the halves, so every gradient is used in the end.

Positions keep their place: only the token embedding moves, not the learned position.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.causal.backward import Measure, gradients, stream_of
from core.engine.model import Transformer
from core.progress import Progress

BOOLE = (7 / 90, 32 / 90, 12 / 90, 32 / 90, 7 / 90)
"""Weights of five equally distant points of a part, as shares of its length; exact for polynomials of degree 5."""
PARTS = 4
"""Parts that the path begins with."""
FROM_ZERO = 8
"""From zeros α = s^8, and parts are halves of s: near them a norm blows each small state up to the same size."""
MOST_STEPS = 1000
"""About how many gradients are taken at most, where no number is given."""
ROWS = 256
"""Positions that go through the model together, about: so a pause comes after some tens of milliseconds."""


@dataclass(frozen=True, slots=True)
class PathIntegral:
    """Integrated gradients of a prompt, perhaps not yet precise."""

    attributions: Tensor
    """One number for each token, [T]."""
    measure: float
    """m(E)."""
    baseline_measure: float
    """m(E₀)."""
    steps: int
    """Gradients that were taken."""

    @property
    def error(self) -> float:
        """What the attributions sum to, less m(E) - m(E₀)."""
        return self.attributions.sum().item() - self.measure + self.baseline_measure

    @property
    def error_share(self) -> float:
        """The size of the error as a share of |m(E) - m(E₀)|."""
        rise = abs(self.measure - self.baseline_measure)
        return abs(self.error) / rise if rise else float(self.error != 0)


def input_x_gradient(
    transformer: Transformer, embedding: Tensor, measure: Measure
) -> Generator[Progress, None, tuple[float, Tensor]]:
    """m(E), and E[t] · ∂m/∂E[t] for each token: [T, width] → [T]."""
    value, gradient = yield from embedding_gradients(transformer, embedding[None], measure)
    return value.item(), (embedding * gradient[0]).sum(-1)


def integrated_gradients(
    transformer: Transformer,
    embedding: Tensor,
    baseline: Tensor,
    measure: Measure,
    *,
    steps: int | None = None,
    within: float = 0.01,
) -> Iterator[Progress | PathIntegral]:
    """Ever more precise integrals from `baseline` to `embedding`, both [T, width].

    Without `steps` the path is divided until the error is at most `within` of m(E) - m(E₀), or `MOST_STEPS` gradients
    were taken; with it, one quadrature of that many points covers the whole path.
    """
    path = _Path(transformer, baseline, embedding - baseline, measure)
    if steps is not None:
        yield (yield from path.gauss_legendre(steps))
        return
    new = [(n / PARTS, (n + 1) / PARTS) for n in range(PARTS)]
    while new:
        yield from path.integrate(new)
        yield path.result
        new = path.halves(within) if path.result.steps < MOST_STEPS else []


class _Path:
    """The straight path from a baseline, α = s^power, what was computed on it, and the integrals over its parts."""

    def __init__(self, transformer: Transformer, start: Tensor, way: Tensor, measure: Measure) -> None:
        self._transformer, self._start, self._way, self._measure = transformer, start, way, measure
        self._power = 1 if start.any() else FROM_ZERO
        self._known: dict[float, tuple[float, Tensor]] = {}
        """By s: m, and each token's part of dm/ds, [T]."""
        self._parts: dict[tuple[float, float], Tensor] = {}
        """The integral over each part, [T]."""

    @property
    def result(self) -> PathIntegral:
        total = torch.stack(list(self._parts.values())).sum(0)
        return PathIntegral(total, self._known[1.0][0], self._known[0.0][0], len(self._known))

    def halves(self, within: float) -> list[tuple[float, float]]:
        """Take away the parts that miss their rise too far, and return their halves.

        None does where their sum, and the root of the sum of their squares, are at most `within` of m(E) - m(E₀).
        """
        missed = {
            (a, b): abs(part.sum().item() - self._known[b][0] + self._known[a][0])
            for (a, b), part in self._parts.items()
        }
        allowed = within * abs(self._known[1.0][0] - self._known[0.0][0]) / math.sqrt(len(missed))
        if self.result.error_share > within:
            allowed = min(allowed, sum(missed.values()) / len(missed))
        halves = []
        for a, b in [part for part, error in missed.items() if error >= allowed]:
            del self._parts[a, b]
            halves += [(a, (a + b) / 2), ((a + b) / 2, b)]
        return halves

    def integrate(self, parts: Sequence[tuple[float, float]]) -> Iterator[Progress]:
        """Integrate over each part by Boole's rule."""
        points = {part: np.linspace(*part, len(BOOLE)).tolist() for part in parts}  # halves of halves, so exact
        new = sorted({s for each in points.values() for s in each} - self._known.keys())
        values, slopes = yield from self._gradients([s**self._power for s in new])
        for s, value, slope in zip(new, values.tolist(), slopes, strict=True):
            self._known[s] = value, self._power * s ** (self._power - 1) * slope
        for (a, b), each in points.items():
            self._parts[a, b] = sum(
                ((b - a) * weight * self._known[s][1] for weight, s in zip(BOOLE, each, strict=True)),
                torch.zeros_like(slopes[0]),
            )

    def gauss_legendre(self, steps: int) -> Generator[Progress, None, PathIntegral]:
        """The integral over the whole path by one quadrature of so many points."""
        points, shares = np.polynomial.legendre.leggauss(steps)
        values, slopes = yield from self._gradients([0.0, 1.0, *((1 + points) / 2)])
        weights = torch.tensor(shares / 2, dtype=slopes.dtype, device=slopes.device)
        return PathIntegral(weights @ slopes[2:], values[1].item(), values[0].item(), steps)

    def _gradients(self, places: Sequence[float]) -> Generator[Progress, None, tuple[Tensor, Tensor]]:
        """m and each token's part of dm/dα at n places, [n] and [n, T]."""
        size, values, slopes = max(1, ROWS // len(self._way)), [], []
        for first in range(0, len(places), size):
            alphas = torch.tensor(places[first : first + size], dtype=self._way.dtype, device=self._way.device)
            points = self._start + alphas[:, None, None] * self._way
            value, gradient = yield from embedding_gradients(self._transformer, points, self._measure)
            values.append(value)
            slopes.append((gradient * self._way).sum(-1))
        return torch.cat(values), torch.cat(slopes)


def embedding_gradients(
    transformer: Transformer, embedding: Tensor, measure: Measure
) -> Generator[Progress, None, tuple[Tensor, Tensor]]:
    """m [n], and ∂m/∂E [n, T, width], of n prompts whose token embeddings are given."""
    found = yield from gradients(transformer, _placed(transformer, embedding), measure)
    return found.measure, _pulled(transformer, embedding, found.stream_gradients[0])


@torch.no_grad()
def _placed(transformer: Transformer, embedding: Tensor) -> Tensor:
    return stream_of(transformer, embedding)


@torch.inference_mode(mode=False)
@torch.enable_grad()
def _pulled(transformer: Transformer, embedding: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of the stream before the first block as one of the token embedding."""
    leaf = embedding.detach().requires_grad_()
    return torch.autograd.grad(stream_of(transformer, leaf), leaf, gradient)[0]
