"""Quantized weights as GGUF's blocks: Q8_0 for `int8` and Q4_1 for `int4`, from float32."""

import torch
import torch.nn.functional as F
from torch import Tensor

from core.engine.packed.kernels.descriptors import GROUP

ROWS_AT_ONCE = 1024
"""Rows that are quantized together: a large embedding needs no second copy in float32."""
SMALLEST = 2.0**-24
"""The smallest float16 above 0."""


def q8_0(weight: Tensor) -> Tensor:
    """float32 [rows, columns] → uint8 [rows, groups · 34]: for 32 weights a float16 scale and 32 int8.

    The largest weight of a group becomes ±127. The last group of a row is filled up with zeros.
    """
    groups = _groups(weight)
    scales = (groups.abs().amax(-1, keepdim=True) / 127).clamp_min(SMALLEST).half()
    quantized = (groups / scales.float()).round_().clamp_(-127, 127).to(torch.int8)
    return torch.cat((scales.view(torch.uint8), quantized.view(torch.uint8)), -1).flatten(1)


def q4_1(weight: Tensor) -> Tensor:
    """float32 [rows, columns] → uint8 [rows, groups · 20]: for 32 weights a float16 scale, a float16 minimum, 16 bytes.

    Levels 0 and 15 are first the smallest and the largest weight of a group; then scale and minimum are those with the
    least squared error for these levels. A byte has the weights n and n + 16. The last group of a row is filled up with
    its last weight.
    """
    repeated = weight[:, -1:].expand(-1, -weight.shape[1] % GROUP)  # changes neither minimum nor maximum
    groups = _groups(torch.cat((weight, repeated), 1))
    low = groups.amin(-1, keepdim=True)
    scales = ((groups.amax(-1, keepdim=True) - low) / 15).clamp_min(SMALLEST)
    levels = _levels(groups, scales, low)
    mean, center = groups.mean(-1, keepdim=True), levels.mean(-1, keepdim=True)
    spread = levels - center
    fitted = (spread * groups).sum(-1, keepdim=True) / spread.square().sum(-1, keepdim=True).clamp_min(1)
    scales = fitted.clamp_min(SMALLEST).half()
    low = (mean - scales.float() * center).half()
    first, second = _levels(groups, scales.float(), low.float()).to(torch.uint8).chunk(2, -1)
    return torch.cat((scales.view(torch.uint8), low.view(torch.uint8), second << 4 | first), -1).flatten(1)


def _levels(groups: Tensor, scales: Tensor, low: Tensor) -> Tensor:
    """The nearest of 16 levels."""
    return ((groups - low) / scales).round_().clamp_(0, 15)


def _groups(weight: Tensor) -> Tensor:
    """[rows, groups, 32], filled up with zeros."""
    return F.pad(weight, (0, -weight.shape[1] % GROUP)).unflatten(1, (-1, GROUP))
