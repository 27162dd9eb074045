"""An affine map from the residual stream before a block to that after the last block, by ridge regression on a text.

The readout of a tuned lens (Belrose et al. 2023, eq. 7) by least squares. Their maps are trained to lower the KL
divergence of the readout; this fit is of the stream, has a closed form, and stays at the identity and a shift where the
text says nothing: what is regressed on h is h_N - h.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

POSITIONS = 1024
"""Positions that a fit uses at most, evenly spaced ones."""
PENALTIES = tuple(10.0**power for power in range(-5, 3))
"""Penalties that are tried, as shares of the mean square of the principal components."""


@dataclass(frozen=True, slots=True)
class AffineMap:
    """h → h + shift + (h - center) · inputs · outputs, in float32."""

    center: Tensor
    """[d]."""
    shift: Tensor
    """[d]."""
    inputs: Tensor
    """[d, r]."""
    outputs: Tensor
    """[r, d]."""

    def __call__(self, states: Tensor) -> Tensor:
        """[…, d] → […, d], float32."""
        return states + self.shift + (states - self.center) @ self.inputs @ self.outputs


@torch.no_grad()
def affine_map(streams: Tensor, final: Tensor) -> AffineMap:
    """The ridge regression of `final` - `streams` on `streams`, both [n, d], with the penalty that predicts best.

    Each position is predicted from all others (leave-one-out), which has a closed form (Hastie et al. 2009, eq. 7.64).
    """
    every = -(-len(streams) // POSITIONS)
    x, y = streams[::every].double(), final[::every].double()
    residual = y - x
    center, shift = x.mean(0), residual.mean(0)
    left, sizes, right = torch.linalg.svd(x - center, full_matrices=False)
    known = left.T @ (residual - shift)
    mean_square = sizes.square().mean().clamp(min=1e-30)

    def error(penalty: Tensor) -> float:
        shares = sizes.square() / (sizes.square() + penalty)
        own = (left.square() * shares).sum(1) + 1 / len(x)
        missed = residual - shift - left @ (shares[:, None] * known)
        return (missed / (1 - own).clamp(min=1e-9)[:, None]).square().sum().item()

    penalty = min((share * mean_square for share in PENALTIES), key=error)
    weights = sizes / (sizes.square() + penalty)
    return AffineMap(*(each.float() for each in (center, shift, right.T * weights, known)))
