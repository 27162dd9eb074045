"""Matrices in 8-bit floats with a scale for each block of rows and columns (DeepSeek-AI 2024, §3.3), as numbers."""

import torch
from torch import Tensor

from core.formats.tensors import StoredTensor

FORMATS = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}
SUFFIX = "_scale_inv"
"""What the name of the scales has after that of the matrix."""
Block = tuple[int, int]
"""Rows and columns that share a scale."""


def scales_shape(stored: StoredTensor, block: Block) -> tuple[int, ...]:
    """The shape that the scales of a matrix must have; a last block may be partial."""
    return tuple(-(-size // step) for size, step in zip(stored.shape, block, strict=True))


def scaled(matrix: Tensor, scales: Tensor, block: Block) -> Tensor:
    """The matrix in float32, each block multiplied by its scale."""
    each = scales.float().repeat_interleave(block[0], 0)[: matrix.shape[0]]
    return matrix.float() * each.repeat_interleave(block[1], 1)[:, : matrix.shape[1]]
