"""Owns linear maps whose weights stay packed in 8 or 4 bits, as torch's kernels for CPUs want them.

One token reads every weight once, so its time is that of the memory: fewer bytes, more tokens.
"""

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.engine.packed import compiled

DTYPE = torch.bfloat16
"""Of scales, and of activations where torch's kernels compute: they are fast for no other."""
GROUP = 32
"""Neighbouring weights of a row that share a scale and a zero in 4 bits, as in GGUF's Q4_0 and Q4_1."""
ROWS = 1024
"""Of a matrix, packed at once: an embedding of many tokens needs no second copy in full width."""
ROWS_4 = 512
"""The same for 4 bits: a multiple of the 64 rows that lie together in what the kernel reads."""


class Shift(nn.Module):
    """Adds a bias."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


def _shift(bias: Tensor | None) -> nn.Module:
    return nn.Identity() if bias is None else Shift(bias)


class PackedLinear(nn.Module):
    """x Wᵀ + b with a packed W: by compiled code, where there is some and it takes the sizes, else by torch."""

    shift: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """[…, in] → […, out], float32."""
        if self._product:
            return self.shift(self._product(x))
        rows = self._by_torch(x.flatten(0, -2).to(DTYPE)).float()
        return self.shift(rows.unflatten(0, x.shape[:-1]))

    def as_matrix(self) -> compiled.Matrix:
        """The map as compiled code is told of it."""
        raise NotImplementedError

    def _by_torch(self, x: Tensor) -> Tensor:
        """[n, in] → [n, out], bfloat16."""
        raise NotImplementedError

    @property
    def _bias(self) -> Tensor | None:
        return self.shift.bias.float() if isinstance(self.shift, Shift) else None

    @cached_property
    def _product(self) -> compiled.Product | None:
        matrix = self.as_matrix()._replace(bias=None)
        return compiled.Product(matrix) if compiled.takes(matrix) else None


class Int8Linear(PackedLinear):
    """W is `levels` [out, in] times `scale` [out]."""

    levels: Tensor
    scale: Tensor

    def __init__(self, levels: Tensor, scale: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("levels", levels)
        self.register_buffer("scale", scale)
        self.shift = _shift(bias)

    def as_matrix(self) -> compiled.Matrix:
        rows, columns = self.levels.shape
        return compiled.Matrix(8, rows, columns, self.levels, self.scale, self._bias)

    def _by_torch(self, x: Tensor) -> Tensor:
        return torch.ops.aten._weight_int8pack_mm(x, self.levels, self.scale)


class Int8Embedding(nn.Module):
    """Rows of `levels` [V, d] times `scale` [V]: the same tensors as a tied unembedding's."""

    levels: Tensor
    scale: Tensor

    def __init__(self, levels: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("levels", levels)
        self.register_buffer("scale", scale)

    def forward(self, ids: Tensor) -> Tensor:
        """[B, T] → [B, T, d], float32."""
        return F.embedding(ids, self.levels).float() * F.embedding(ids, self.scale[:, None])


class Int4Linear(PackedLinear):
    """Each weight of W is (level - 8) · scale + zero, with a scale and a zero for every group of a row.

    `levels` is [out, in] of 0 to 15, `scale` and `zero` are [out, in / GROUP]; out must be a multiple of 16.
    """

    levels: Tensor
    scales: Tensor

    def __init__(self, levels: Tensor, scale: Tensor, zero: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("levels", torch.cat([_int4pack(rows) for rows in levels.split(ROWS_4)]))
        self.register_buffer("scales", torch.stack((scale, zero), -1).transpose(0, 1).to(DTYPE).contiguous())
        self.shift = _shift(bias)

    def as_matrix(self) -> compiled.Matrix:
        groups, rows, _ = self.scales.shape
        return compiled.Matrix(4, rows, groups * GROUP, self.levels, self.scales, self._bias)

    def _by_torch(self, x: Tensor) -> Tensor:
        return torch.ops.aten._weight_int4pack_mm_for_cpu(x, self.levels, GROUP, self.scales)


def _int4pack(levels: Tensor) -> Tensor:
    """Levels as the kernel reads them; on the way there each has 32 bits."""
    return torch.ops.aten._convert_weight_to_int4pack_for_cpu(levels.int().contiguous(), 1)


def int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Levels and scales nearest to a float32 matrix: the largest weight of a row is ±127."""
    scale = (weight.abs().amax(1) / 127).clamp_min(torch.finfo(DTYPE).tiny).to(DTYPE)
    levels = torch.empty(weight.shape, dtype=torch.int8)
    for rows, each, into in zip(weight.split(ROWS), scale.split(ROWS), levels.split(ROWS), strict=True):
        into.copy_((rows / each.float()[:, None]).round_().clamp_(-127, 127))
    return levels, scale


def int4(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Levels, scales and zeros for a float32 matrix: the smallest and largest weight of a group are 0 and 15."""
    groups = weight.unflatten(1, (-1, GROUP))
    low, high = groups.amin(-1), groups.amax(-1)
    scale = ((high - low) / 15).clamp_min(torch.finfo(DTYPE).tiny).to(DTYPE).float()
    zero = (low + 8 * scale).to(DTYPE).float()
    levels = ((groups - zero[..., None]) / scale[..., None] + 8).round().clamp(0, 15)
    return levels.flatten(1).to(torch.uint8), scale, zero


def fits(bits: int, rows: int, columns: int) -> bool:
    """Whether the kernel takes a matrix of these sizes; it would read beyond the end of others."""
    return columns % 16 == 0 if bits == 8 else rows % 16 == 0 and columns % GROUP == 0


def unpack_q4(blocks: Tensor, *, with_minimum: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The very numbers of GGUF's Q4_0 or Q4_1 [rows, bytes], as levels, scales and zeros.

    A block is a half-precision scale, in Q4_1 a minimum, and 16 bytes: the first half of the group in the low nibbles.
    """
    header = 4 if with_minimum else 2
    rows = blocks.unflatten(1, (-1, header + GROUP // 2))
    halves, nibbles = rows[..., :header].contiguous().view(torch.float16).float(), rows[..., header:]
    levels = torch.cat((nibbles & 15, nibbles >> 4), dim=-1).flatten(1)
    scale = halves[..., 0]
    return levels, scale, halves[..., 1] + 8 * scale if with_minimum else torch.zeros_like(scale)


def unpack_q8(blocks: Tensor) -> Tensor:
    """The very numbers of GGUF's Q8_0 [rows, bytes]: a block is a half-precision scale and its levels."""
    rows = blocks.unflatten(1, (-1, 2 + GROUP))
    scale, levels = rows[..., :2].contiguous().view(torch.float16).float(), rows[..., 2:].view(torch.int8)
    return (levels * scale).flatten(1)


@torch.inference_mode()
def matrix(module: nn.Module, first: int = 0, last: int | None = None) -> Tensor:
    """Rows `first` to `last` of the matrix that a linear map or an embedding stands for, float32 on the CPU.

    4 bits are unpacked by the kernel itself, from a product with the identity.
    """
    if isinstance(module, Int8Linear | Int8Embedding):
        return module.levels[first:last].float() * module.scale[first:last].float()[:, None]
    if isinstance(module, Int4Linear):
        columns = module.scales.shape[0] * GROUP
        identity = torch.eye(columns, dtype=DTYPE)
        return (
            torch.ops.aten._weight_int4pack_mm_for_cpu(identity, module.levels, GROUP, module.scales)
            .float()
            .T[first:last]
        )
    return module.get_parameter("weight").detach()[first:last].to("cpu", torch.float32)
