"""Modules with quantized weights: linear maps and the embedding.

A single token reads every weight once, so memory bandwidth decides its time: fewer bytes, more tokens a second.
"""

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.engine.packed import compiled, quantize
from core.engine.packed.kernels.descriptors import BLOCK_ROWS, GROUP
from core.engine.packed.quantize import DTYPE


class Bias(nn.Module):
    """Adds a bias."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class PackedLinear(nn.Module):
    """x Wᵀ + b with a quantized W [out, in]: by compiled code, or by torch where nothing can be compiled."""

    shape: tuple[int, int]
    """[out, in]."""

    def __init__(self, bias: Tensor | None) -> None:
        super().__init__()
        self.add_bias = nn.Identity() if bias is None else Bias(bias)

    def forward(self, x: Tensor) -> Tensor:
        """[…, in] → […, out], float32."""
        if self._product:
            return self.add_bias(self._product(x))
        rows = F.pad(x.flatten(0, -2).to(DTYPE), (0, -x.shape[-1] % GROUP))
        outputs = self._by_torch(rows)[:, : self.shape[0]].float()
        return self.add_bias(outputs.unflatten(0, x.shape[:-1]))

    def matrix(self) -> compiled.Matrix:
        """The map as compiled code takes it."""
        raise NotImplementedError

    def dequantize(self, first: int = 0, last: int | None = None) -> Tensor:
        """Rows `first` to `last` of W, float32."""
        raise NotImplementedError

    def _by_torch(self, x: Tensor) -> Tensor:
        """bfloat16 [n, in padded to a multiple of GROUP] → bfloat16 [n, out or more], without bias."""
        raise NotImplementedError

    @property
    def _bias(self) -> Tensor | None:
        return self.add_bias.bias.float() if isinstance(self.add_bias, Bias) else None

    @cached_property
    def _product(self) -> compiled.Product | None:
        return compiled.Product(self.matrix()._replace(bias=None)) if compiled.available() else None


class Int8Linear(PackedLinear):
    """W is `quantized` [out, in] times `scales` [out]; see `quantize.int8`."""

    quantized: Tensor
    scales: Tensor

    def __init__(self, quantized: Tensor, scales: Tensor, bias: Tensor | None = None) -> None:
        super().__init__(bias)
        self.shape = (quantized.shape[0], quantized.shape[1])
        self.register_buffer("quantized", quantize.padded_rows(quantized))
        self.register_buffer("scales", scales)

    def matrix(self) -> compiled.Matrix:
        return compiled.Matrix(8, *self.shape, self.quantized, self.scales, self._bias)

    def dequantize(self, first: int = 0, last: int | None = None) -> Tensor:
        return self.quantized[first:last].float() * self.scales[first:last].float()[:, None]

    def _by_torch(self, x: Tensor) -> Tensor:
        return torch.ops.aten._weight_int8pack_mm(x, quantize.with_padding(self.quantized), self.scales)


class Int8Embedding(nn.Module):
    """Rows of `quantized` [V, d] times `scales` [V]: the same tensors as those of a tied unembedding."""

    quantized: Tensor
    scales: Tensor

    def __init__(self, quantized: Tensor, scales: Tensor) -> None:
        super().__init__()
        self.shape = (quantized.shape[0], quantized.shape[1])
        self.register_buffer("quantized", quantize.padded_rows(quantized))
        self.register_buffer("scales", scales)

    def forward(self, ids: Tensor) -> Tensor:
        """[B, T] → [B, T, d], float32."""
        return F.embedding(ids, self.quantized).float() * F.embedding(ids, self.scales[:, None])

    def dequantize(self, first: int = 0, last: int | None = None) -> Tensor:
        """Rows `first` to `last`, float32."""
        return self.quantized[first:last].float() * self.scales[first:last].float()[:, None]


class Int4Linear(PackedLinear):
    """W as `quantize.int4` returns it, kept as `pack_int4` and `pack_scales` order it."""

    quantized: Tensor
    scales: Tensor

    def __init__(self, quantized: Tensor, scales: Tensor, zero_points: Tensor, bias: Tensor | None = None) -> None:
        super().__init__(bias)
        self.shape = (quantized.shape[0], quantized.shape[1])
        self.register_buffer("quantized", quantize.pack_int4(quantized))
        self.register_buffer("scales", quantize.pack_scales(scales, zero_points))

    def matrix(self) -> compiled.Matrix:
        return compiled.Matrix(4, *self.shape, self.quantized, self.scales, self._bias)

    def dequantize(self, first: int = 0, last: int | None = None) -> Tensor:
        first, last, _ = slice(first, last).indices(self.shape[0])
        block, end = first // BLOCK_ROWS, -(-last // BLOCK_ROWS)
        pairs = quantize.unpack_scales(self.scales[block:end])
        whole = quantize.dequantize_int4(quantize.unpack_int4(self.quantized[block:end]), *pairs.unbind(-1))
        return whole[first - block * BLOCK_ROWS : last - block * BLOCK_ROWS, : self.shape[1]]

    def _by_torch(self, x: Tensor) -> Tensor:
        return torch.ops.aten._weight_int4pack_mm_for_cpu(x, self._torch_order[0], GROUP, self._torch_order[1])

    @cached_property
    def _torch_order(self) -> tuple[Tensor, Tensor]:
        """The weights and scales as torch's kernel wants them: a second copy, where nothing can be compiled."""
        weights = quantize.unpack_int4(self.quantized).int()
        pairs = quantize.unpack_scales(self.scales).transpose(0, 1).contiguous()
        return torch.ops.aten._convert_weight_to_int4pack_for_cpu(weights, 1), pairs


@torch.inference_mode()
def matrix(module: nn.Module, first: int = 0, last: int | None = None) -> Tensor:
    """Rows `first` to `last` of the matrix of any linear map or embedding, float32 on the CPU."""
    if isinstance(module, PackedLinear | Int8Embedding):
        return module.dequantize(first, last)
    return module.get_parameter("weight").detach()[first:last].to("cpu", torch.float32)
