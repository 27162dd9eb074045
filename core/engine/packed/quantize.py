"""Quantized weights: int8 and int4 from float32 or from a GGUF file, and how int4 lies in memory.

int8: weight = q · scale, q from -127 to 127, one scale a row.
int4: weight = (q - 8) · scale + zero_point, q from 0 to 15, one scale and one zero point for each group of a row.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from core.engine.packed.kernels.descriptors import BLOCK_ROWS, GROUP

DTYPE = torch.bfloat16
"""Of scales and zero points."""
ROWS_AT_ONCE = 1024
"""Rows that are quantized together: a large embedding needs no second copy in float32."""


def int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """float32 [rows, columns] → int8 [rows, columns], scales [rows]; the largest weight of a row becomes ±127."""
    scales = (weight.abs().amax(1) / 127).clamp_min(torch.finfo(DTYPE).tiny).to(DTYPE)
    quantized = torch.empty(weight.shape, dtype=torch.int8)
    parts = (each.split(ROWS_AT_ONCE) for each in (weight, scales, quantized))
    for rows, scale, into in zip(*parts, strict=True):
        into.copy_((rows / scale.float()[:, None]).round_().clamp_(-127, 127))
    return quantized, scales


def int4(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """float32 [rows, columns] → uint8 [rows, columns] of 0 to 15, scales and zero points [rows, groups].

    The smallest and the largest weight of a group become 0 and 15. The last group of a row may be partial.
    """
    columns = weight.shape[1]
    repeated = weight[:, -1:].expand(-1, -columns % GROUP)  # changes neither minimum nor maximum of the last group
    groups = torch.cat((weight, repeated), 1).unflatten(1, (-1, GROUP))
    low, high = groups.amin(-1), groups.amax(-1)
    scales = ((high - low) / 15).clamp_min(torch.finfo(DTYPE).tiny).to(DTYPE).float()
    zero_points = (low + 8 * scales).to(DTYPE).float()
    quantized = ((groups - zero_points[..., None]) / scales[..., None] + 8).round().clamp(0, 15)
    return quantized.flatten(1)[:, :columns].to(torch.uint8), scales, zero_points


def dequantize_int4(quantized: Tensor, scales: Tensor, zero_points: Tensor) -> Tensor:
    """What `int4` returns, as float32 [rows, columns]."""
    columns = quantized.shape[1]
    groups = _padded(quantized, 1, GROUP).unflatten(1, (-1, GROUP)).float()
    return ((groups - 8) * scales.float()[..., None] + zero_points.float()[..., None]).flatten(1)[:, :columns]


# Memory --------------------------------------------------------------------------------------------------------------


def padded_rows(quantized: Tensor) -> Tensor:
    """int8 [rows, columns] whose rows begin at multiples of GROUP bytes: a view of wider rows if that takes padding."""
    columns = quantized.shape[1]
    if quantized.stride() == (-(-columns // GROUP) * GROUP, 1):
        return quantized
    return _padded(quantized, 1, GROUP).contiguous()[:, :columns]


def with_padding(quantized: Tensor) -> Tensor:
    """What `padded_rows` returned together with its zeros: [rows, a multiple of GROUP]."""
    return quantized.as_strided((len(quantized), quantized.stride(0)), quantized.stride())


def pack_int4(quantized: Tensor) -> Tensor:
    """[rows, columns] of 0 to 15 → uint8 [blocks, columns / 4, 2, 8, 4], both sizes padded by zeros to multiples of 32.

    Of a block of 32 rows and 4 columns, byte [v, r, c] has row 16 v + r in its low and row 16 v + 8 + r in its high
    bits: the order in which `kernels.avx2` reads them.
    """
    whole = _padded(_padded(quantized, 0, BLOCK_ROWS), 1, GROUP)
    low, high = whole.view(-1, 2, 2, 8, whole.shape[1] // 4, 4).unbind(2)  # [blocks, 2, 8, columns / 4, 4]
    return (high << 4 | low).permute(0, 3, 1, 2, 4).contiguous()


def unpack_int4(packed: Tensor) -> Tensor:
    """The reverse of `pack_int4`, with its padding: uint8 [blocks · 32, columns]."""
    halves = torch.stack((packed & 15, packed >> 4), 3)  # [blocks, columns / 4, 2, 2, 8, 4]
    return halves.permute(0, 2, 3, 4, 1, 5).flatten(4).flatten(0, 3)


def pack_scales(scales: Tensor, zero_points: Tensor) -> Tensor:
    """[rows, groups] each → bfloat16 [blocks, groups, 32 rows, 2]: beside the scale of a row its zero point."""
    pairs = _padded(torch.stack((scales, zero_points), -1).to(DTYPE), 0, BLOCK_ROWS)
    return pairs.unflatten(0, (-1, BLOCK_ROWS)).transpose(1, 2).contiguous()


def unpack_scales(packed: Tensor) -> Tensor:
    """The reverse of `pack_scales`, with its padding: bfloat16 [blocks · 32, groups, 2]."""
    return packed.transpose(1, 2).flatten(0, 1)


def _padded(x: Tensor, dim: int, multiple: int) -> Tensor:
    """`x` with zeros at the end of a dimension, to a multiple."""
    missing = -x.shape[dim] % multiple
    return F.pad(x, (0, 0) * (x.dim() - 1 - dim) + (0, missing)) if missing else x


# GGUF ----------------------------------------------------------------------------------------------------------------


def unpack_q4(blocks: Tensor, *, with_minimum: bool) -> tuple[Tensor, Tensor, Tensor]:
    """GGUF's Q4_0 or Q4_1 (uint8 [rows, bytes]) as `int4` returns weights, without rounding.

    A group is a float16 scale, in Q4_1 a float16 minimum, and 16 bytes: the first 16 weights in the low 4 bits.
    """
    header = 4 if with_minimum else 2
    groups = blocks.unflatten(1, (-1, header + GROUP // 2))
    halves, nibbles = groups[..., :header].contiguous().view(torch.float16).float(), groups[..., header:]
    quantized = torch.cat((nibbles & 15, nibbles >> 4), dim=-1).flatten(1)
    scales = halves[..., 0]
    return quantized, scales, halves[..., 1] + 8 * scales if with_minimum else torch.zeros_like(scales)


def unpack_q8(blocks: Tensor) -> Tensor:
    """GGUF's Q8_0 (uint8 [rows, bytes]) as float32 [rows, columns]. A group is a float16 scale and 32 int8."""
    groups = blocks.unflatten(1, (-1, 2 + GROUP))
    scales, quantized = groups[..., :2].contiguous().view(torch.float16).float(), groups[..., 2:].view(torch.int8)
    return (quantized * scales).flatten(1)
