"""Matrices of 4-bit floats, 32 neighbors of a row to a power of two (OCP Microscaling Formats v1.0, §5), as numbers."""

import torch
from torch import Tensor

from core.formats.tensors import StoredTensor

SUFFIX = "_scales"
"""What the name of the scales has after that of the matrix."""
SIZE = 32
"""Numbers that share a scale."""
BIAS = 127
"""Of the exponent that is a scale."""
_MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_VALUES = torch.tensor([*_MAGNITUDES, *(-each for each in _MAGNITUDES)])
"""By the four bits: sign, two of the exponent, one of the mantissa."""


def scales_shape(stored: StoredTensor) -> tuple[int, ...]:
    """The shape that the scales of a matrix must have."""
    rows, columns = stored.shape
    return rows, columns // SIZE


def numbers(packed: Tensor, scales: Tensor) -> Tensor:
    """The matrix in float32 [rows, columns], of uint8 [rows, columns / 2], low bits first, and [rows, columns / 32]."""
    codes = torch.stack((packed & 15, packed >> 4), -1).flatten(1)
    groups = _VALUES[codes.int()].unflatten(1, (-1, SIZE))
    return torch.ldexp(groups, scales.int()[..., None] - BIAS).flatten(1)
