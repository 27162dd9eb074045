"""Linear maps and the embedding in 8 or 4 bits by torch's own kernels: for devices without the compiled kernels.

Only weights are quantized; states stay in 16 bits. torchao was looked at and not taken: without `torch.compile` its
8-bit product converts the whole matrix for every token, its 4-bit one needs CUDA, and neither can be tested on a CPU.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUP = 32
"""Weights that share a scale and a zero point in 4 bits: 5 bits a weight in all."""
FEW = 8
"""Positions up to which the 8-bit kernel is used; it reads the matrix once for each."""
ROWS_AT_ONCE = 8192
"""Rows of an 8-bit matrix that are converted together, so that an unembedding needs no second copy."""
INT8_KERNELS = ("cpu", "mps")
"""Where `_weight_int8pack_mm` is worth it. CUDA has it from torch 2.9 on, but up to 2.13 with one thread for each row,
whose reads are not coalesced (pytorch#190529)."""


class Quantized(nn.Module):
    """A matrix whose numbers are buffers in fewer bits."""

    shape: tuple[int, int]
    """[rows, columns]."""
    embeds = False
    """Whether its rows are looked up, not multiplied."""

    def dequantize(self, first: int = 0, last: int | None = None) -> Tensor:
        """Rows `first` to `last`, float32 on the CPU."""
        raise NotImplementedError


def quantizes(shape: tuple[int, ...]) -> bool:
    """Whether the kernels of all devices take a matrix of this shape; other sizes crash that for 8 bits on the CPU."""
    return shape[0] % GROUP == 0 and shape[1] % GROUP == 0


# 8 bits ---------------------------------------------------------------------------------------------------------------


def int8(rows: Iterable[Tensor], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """float32 rows, some at a time → int8 [rows, columns] and a scale in `dtype` for each row, [rows]."""
    weights, scales = [], []
    for block in rows:
        block = block.to(device)  # noqa: PLW2901
        scale = (block.abs().amax(1) / 127).clamp_min(torch.finfo(dtype).tiny).to(dtype)
        weights.append((block / scale.float()[:, None]).round_().clamp_(-127, 127).to(torch.int8))
        scales.append(scale)
    return torch.cat(weights), torch.cat(scales)


class Int8(Quantized):
    """int8 weights with a scale for each row."""

    weight: Tensor
    scales: Tensor

    def __init__(self, weight: Tensor, scales: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scales", scales)
        self.shape = (weight.shape[0], weight.shape[1])

    def dequantize(self, first: int = 0, last: int | None = None) -> Tensor:
        """Rows `first` to `last`, float32 on the CPU."""
        return self.weight[first:last].to("cpu", torch.float32) * self.scales[first:last, None].to("cpu", torch.float32)


class Int8Linear(Int8):
    """x Wᵀ + b with W [out, in] in 8 bits."""

    def __init__(self, weight: Tensor, scales: Tensor, bias: Tensor | None = None) -> None:
        super().__init__(weight, scales)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """[…, in] → […, out]."""
        if self._has_kernel(x):
            y = torch._weight_int8pack_mm(x.reshape(-1, self.shape[1]), self.weight, self.scales)
            y = y.view(*x.shape[:-1], self.shape[0])
        else:
            products = [F.linear(x, rows.to(x.dtype)) for rows in self.weight.split(ROWS_AT_ONCE)]
            y = (products[0] if len(products) == 1 else torch.cat(products, -1)) * self.scales
        return y if self.bias is None else y + self.bias

    def _has_kernel(self, x: Tensor) -> bool:
        """Whether the kernel takes these states: few, and not to be differentiated."""
        few = x.numel() <= FEW * self.shape[1] and x.dtype is self.scales.dtype
        return few and quantizes(self.shape) and x.device.type in INT8_KERNELS and not x.requires_grad


class Int8Embedding(Int8):
    """Rows of W [V, d] in 8 bits. A tied unembedding has the same buffers."""

    embeds = True

    def forward(self, ids: Tensor) -> Tensor:
        """[B, T] → [B, T, d]."""
        scales = self.scales[ids][..., None]
        return self.weight[ids].to(scales.dtype) * scales


# 4 bits ---------------------------------------------------------------------------------------------------------------


def int4(rows: Iterable[Tensor], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """float32 rows, some at a time → levels 0 to 15, uint8 [rows, columns], and [columns / 32, rows, 2] in `dtype`.

    A weight is (level - 8) · scale + zero point; for each 32 columns of a row the last dimension has these two.
    """
    levels, parameters = [], []
    for block in rows:
        groups = block.to(device).unflatten(1, (-1, GROUP))  # [rows, groups, 32]
        low, high = groups.aminmax(dim=-1, keepdim=True)
        scale = ((high - low) / 15).clamp_min(torch.finfo(dtype).tiny).to(dtype).float()
        zero = (low + 8 * scale).to(dtype).float()
        levels.append(((groups - zero) / scale + 8).round_().clamp_(0, 15).to(torch.uint8).flatten(1))
        parameters.append(torch.cat((scale, zero), -1).to(dtype))
    return torch.cat(levels), torch.cat(parameters).transpose(0, 1).contiguous()


class Int4Linear(Quantized):
    """x Wᵀ + b with W [out, in] in 4 bits, packed as the kernel of its device wants it."""

    weight: Tensor
    scales: Tensor

    def __init__(self, levels: Tensor, scales: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.shape = (levels.shape[0], levels.shape[1])
        tiles = next(n for n in (8, 4, 2) if self.shape[1] % (16 * n) == 0)
        if levels.device.type == "cpu":
            packed = torch._convert_weight_to_int4pack_for_cpu(levels.int(), tiles)
        else:
            packed = torch._convert_weight_to_int4pack(levels[:, ::2] << 4 | levels[:, 1::2], tiles)
        self.register_buffer("weight", packed)
        self.register_buffer("scales", scales)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """[…, in] → […, out]."""
        if x.requires_grad or x.dtype is not self.scales.dtype:
            y = F.linear(x, self.dequantize().to(x.device, x.dtype))
        else:
            y = self._product(x.reshape(-1, self.shape[1])).view(*x.shape[:-1], self.shape[0])
        return y if self.bias is None else y + self.bias

    def _product(self, x: Tensor) -> Tensor:
        """[n, in] → [n, out]."""
        kernel = torch._weight_int4pack_mm_for_cpu if x.device.type == "cpu" else torch._weight_int4pack_mm
        return kernel(x, self.weight, GROUP, self.scales)

    def dequantize(self, first: int = 0, last: int | None = None) -> Tensor:
        """Rows `first` to `last`, float32 on the CPU: the products with unit vectors, as packing differs by device."""
        whole = self._product(torch.eye(self.shape[1], dtype=self.scales.dtype, device=self.scales.device))
        return whole[:, first:last].t().to("cpu", torch.float32)
